/** Search: with images of the index, or with an uploaded one or a part of it. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { Form } from '../ui/form.tsx';
import { counted } from '../ui/format.ts';
import { type Chosen, type Region, type Show, TOP } from './ask.ts';
import { numberOf } from './fields.ts';

/** Share of the image's side; a smaller part is taken for a slip of the mouse. */
const SMALLEST_PART = 0.02;
const PART = [
  ['x', 'From the left', 0],
  ['y', 'From the top', 0],
  ['width', 'Width', 2],
  ['height', 'Height', 2],
] as const;

interface SearchProps {
  chosen: Chosen;
  setChosen: (chosen: Chosen) => void;
  show: Show;
}

/** Searches with the images chosen by plus and minus, or with one that is dropped, pasted or picked, or a part of it. */
export function Search({ chosen, setChosen, show }: SearchProps) {
  const [file, setFile] = useState<{ blob: Blob; address: string } | null>(null);
  const [region, setRegion] = useState<Region | null>(null);
  const from = useRef<[number, number] | null>(null);
  const take = (blob: Blob | null | undefined): void => {
    if (blob === null || blob === undefined) return;
    setRegion(null);
    setFile({ blob, address: URL.createObjectURL(blob) });
    show('Like the image given', { kind: 'image', image: blob });
  };
  useEffect(() => () => void (file !== null && URL.revokeObjectURL(file.address)), [file]);
  useEffect(() => {
    const paste = (event: ClipboardEvent): void => take(event.clipboardData?.files[0]);
    addEventListener('paste', paste);
    return () => removeEventListener('paste', paste);
  }, []);
  const takePart = (part: Region): void => {
    if (file === null || part[2] < SMALLEST_PART || part[3] < SMALLEST_PART) return;
    setRegion(part);
    show('Like the part of the image', { kind: 'image', image: file.blob, region: part });
  };
  const shareOf = (event: PointerEvent & { currentTarget: EventTarget & Element }): [number, number] => {
    const { left, top, width, height } = event.currentTarget.getBoundingClientRect();
    const clamp = (value: number): number => Math.min(1, Math.max(0, value));
    return [clamp((event.clientX - left) / width), clamp((event.clientY - top) / height)];
  };
  return (
    <section aria-label="Search">
      <div
        class="drop"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          take(event.dataTransfer?.files[0]);
        }}
      >
        <label>
          An image to look for: drop it here, paste it, or pick it
          <input type="file" accept="image/*" onChange={(event) => take(event.currentTarget.files?.[0])} />
        </label>
        {file !== null && (
          <>
            <svg
              class="query"
              viewBox="0 0 1 1"
              preserveAspectRatio="none"
              role="img"
              aria-label="The given image; drag over a part of it to search by that part"
              style={{ width: '16rem', height: '16rem', touchAction: 'none' }}
              onPointerDown={(event) => {
                event.currentTarget.setPointerCapture(event.pointerId);
                from.current = shareOf(event);
              }}
              onPointerMove={(event) => {
                if (from.current === null) return;
                const [x, y] = shareOf(event);
                const [x0, y0] = from.current;
                setRegion([Math.min(x, x0), Math.min(y, y0), Math.abs(x - x0), Math.abs(y - y0)]);
              }}
              onPointerUp={() => {
                from.current = null;
                if (region !== null) takePart(region);
              }}
            >
              <image href={file.address} width="1" height="1" preserveAspectRatio="none" />
              {region !== null && (
                <rect
                  {...{ x: region[0], y: region[1], width: region[2], height: region[3] }}
                  fill="none"
                  stroke="red"
                  stroke-width="0.01"
                />
              )}
            </svg>
            <Form
              onSubmit={(form) => {
                const [x, y] = [numberOf(form, 'x') / 100, numberOf(form, 'y') / 100];
                const [w, h] = [numberOf(form, 'width') / 100, numberOf(form, 'height') / 100];
                takePart([x, y, Math.min(w, 1 - x), Math.min(h, 1 - y)]);
              }}
            >
              <fieldset class="row">
                <legend>A part of it, in percent</legend>
                {PART.map(([name, words, smallest]) => (
                  <label key={name}>
                    {words}
                    <input
                      {...{ name, type: 'number', min: smallest, max: 100 - (smallest === 0 ? 2 : 0) }}
                      value={smallest === 0 ? 25 : 50}
                    />
                  </label>
                ))}
                <button type="submit">Search by this part</button>
              </fieldset>
            </Form>
          </>
        )}
      </div>
      <div class="row">
        <span>
          More like {counted(chosen.plus.size, 'image')}, less like {chosen.minus.size}
        </span>
        <button
          type="button"
          disabled={chosen.plus.size === 0}
          onClick={() =>
            show('Like the images chosen', {
              ...{ kind: 'search', plus: [...chosen.plus], minus: [...chosen.minus], top: TOP },
            })
          }
        >
          Search by these
        </button>
        <button type="button" onClick={() => setChosen({ ...chosen, plus: new Set(), minus: new Set() })}>
          Forget these
        </button>
      </div>
    </section>
  );
}
