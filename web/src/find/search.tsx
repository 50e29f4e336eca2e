/** Search: by images of the index, or by one that is given by hand, and a part of it. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { addressOf, upload } from '../api.ts';
import { ask, type Chosen, type Show } from './ask.ts';

interface SearchProps {
  index: string;
  chosen: Chosen;
  setChosen: (chosen: Chosen) => void;
  show: Show;
}

/** By the images chosen with plus and minus, or by one that is dropped, pasted or picked, and a part of it. */
export function Search({ index, chosen, setChosen, show }: SearchProps) {
  const [file, setFile] = useState<{ blob: Blob; address: string } | null>(null);
  const [region, setRegion] = useState<[number, number, number, number] | null>(null);
  const from = useRef<[number, number] | null>(null);
  const take = (blob: Blob | null | undefined): void => {
    if (blob === null || blob === undefined) return;
    setRegion(null);
    setFile({ blob, address: URL.createObjectURL(blob) });
    show('Like the image given', upload(addressOf('/api/upload/find', { index, top: 40 }), blob));
  };
  useEffect(() => () => void (file !== null && URL.revokeObjectURL(file.address)), [file]);
  useEffect(() => {
    const paste = (event: ClipboardEvent): void => take(event.clipboardData?.files[0]);
    addEventListener('paste', paste);
    return () => removeEventListener('paste', paste);
  }, [index]);
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
              aria-label="The image given; drag on it to look for a part"
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
                if (region === null || region[2] < 0.02 || region[3] < 0.02) return;
                const address = addressOf('/api/upload/find', { index, top: 40, region: region.join(',') });
                show('Like the part of the image', upload(address, file.blob));
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
          </>
        )}
      </div>
      <div class="row">
        <span>
          {chosen.plus.size} images to be like, {chosen.minus.size} to be unlike
        </span>
        <button
          type="button"
          disabled={chosen.plus.size === 0}
          onClick={() =>
            show(
              'Like the images chosen',
              ask(index, { kind: 'search', plus: [...chosen.plus], minus: [...chosen.minus], top: 40 }),
            )
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
