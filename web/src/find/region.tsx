/** An image as it is, on which a part can be marked with the pointer or by numbers. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { Form } from '../ui/form.tsx';
import type { Region } from './place.ts';

/** Share of the image's side; a smaller part is taken for a slip of the pointer. */
const SMALLEST = 0.02;
const FIELDS = ['From the left', 'From the top', 'Width', 'Height'] as const;
/** Where the fields stand before anything is marked. */
const MIDDLE: Region = [0.25, 0.25, 0.5, 0.5];

const clamp = (value: number): number => Math.min(1, Math.max(0, value));
const round = (value: number): number => Math.round(1000 * value) / 1000;

interface RegionImageProps {
  src: string;
  name: string;
  part: Region | null;
  onSearch: (part: Region) => void;
}

export function RegionImage({ src, name, part, onSearch }: RegionImageProps) {
  const [drawn, setDrawn] = useState<Region | null>(part);
  /** Width by height. */
  const [shape, setShape] = useState(1);
  useEffect(() => setDrawn(part), [src, part?.join()]);
  const from = useRef<readonly [number, number] | null>(null);
  const before = useRef<Region | null>(null);
  const shareOf = (event: PointerEvent): [number, number] => {
    const { left, top, width, height } = (event.currentTarget as Element).getBoundingClientRect();
    return [clamp((event.clientX - left) / width), clamp((event.clientY - top) / height)];
  };
  const draw = (event: PointerEvent): void => {
    if (from.current === null) return;
    const [x, y] = shareOf(event);
    const [x0, y0] = from.current;
    setDrawn(
      [Math.min(x, x0), Math.min(y, y0), Math.abs(x - x0), Math.abs(y - y0)].map(round) as unknown as Region,
    );
  };
  const end = (): void => {
    from.current = null;
    if (drawn !== null && (drawn[2] < SMALLEST || drawn[3] < SMALLEST)) setDrawn(before.current);
  };
  const type = (field: number, percent: number): void => {
    const next = [...(drawn ?? MIDDLE)];
    next[field] = clamp(percent / 100);
    next[2] = Math.min(next[2]!, 1 - next[0]!);
    next[3] = Math.min(next[3]!, 1 - next[1]!);
    setDrawn(next.map(round) as unknown as Region);
  };
  const shown = drawn ?? MIDDLE;
  return (
    <div class="region">
      <div
        class="region-image"
        role="img"
        aria-label={`${name}; drag over a part of it to mark it`}
        style={{ '--shape': shape }}
        onPointerDown={(event) => {
          event.preventDefault();
          event.currentTarget.setPointerCapture(event.pointerId);
          before.current = drawn;
          from.current = shareOf(event);
        }}
        onPointerMove={draw}
        onPointerUp={end}
        onPointerCancel={end}
      >
        <img
          src={src}
          alt=""
          draggable={false}
          onLoad={({ currentTarget: { naturalWidth, naturalHeight } }) =>
            setShape(naturalWidth / naturalHeight)
          }
        />
        {drawn !== null && (
          <span
            class="part"
            style={{
              left: `${100 * drawn[0]}%`,
              top: `${100 * drawn[1]}%`,
              width: `${100 * drawn[2]}%`,
              height: `${100 * drawn[3]}%`,
            }}
          />
        )}
      </div>
      <Form
        class="part-fields"
        onSubmit={() => shown[2] >= SMALLEST && shown[3] >= SMALLEST && onSearch(shown)}
      >
        <fieldset>
          <legend>A part of it, in percent</legend>
          {FIELDS.map((words, field) => (
            <label key={words}>
              {words}
              <input
                type="number"
                min={field < 2 ? 0 : 2}
                max={field < 2 ? 98 : 100}
                step="any"
                value={Number((100 * shown[field]!).toFixed(1))}
                onInput={({ currentTarget: { valueAsNumber } }) =>
                  // a field that is being emptied waits for its next digit
                  Number.isNaN(valueAsNumber) || type(field, valueAsNumber)
                }
              />
            </label>
          ))}
          <button type="submit">Search by this part</button>
        </fieldset>
      </Form>
    </div>
  );
}
