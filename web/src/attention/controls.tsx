/** Sliders with their values, the strip of all heads, and the place where an image is dropped, pasted or picked. */
import type { ComponentChildren } from 'preact';
import { useEffect, useId, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { paint } from './paint.ts';

export interface SliderProps {
  label: string;
  value: number;
  min: number;
  max: number;
  step: number;
  /** The value in words, beside the slider and for screen readers. */
  text: string;
  onChange: (value: number) => void;
}

/** One row of a `.sliders` grid. */
export function Slider({ label, value, min, max, step, text, onChange }: SliderProps) {
  const id = useId();
  return (
    <>
      <label for={id}>{label}</label>
      <input
        id={id}
        type="range"
        min={min}
        max={max}
        step={step}
        value={value}
        aria-valuetext={text}
        onInput={(event) => onChange(event.currentTarget.valueAsNumber)}
      />
      <output for={id}>{text}</output>
    </>
  );
}

export const percent = (share: number, digits = 0): string => `${(100 * share).toFixed(digits)} %`;

/** What a choice of head is called; 0 is the mean. */
export const headName = (head: number): string => (head === 0 ? 'mean of heads' : `head ${head}`);

/** How maps are laid over their pictures. */
export interface Drawn {
  /** Which head's map: 0 is the mean of all. */
  head: number;
  setHead: (head: number) => void;
  /** How much of the map covers the picture, 0 to 1. */
  overlay: number;
  setOverlay: (overlay: number) => void;
  /** The patches that hold this share of the attention are shown, 0 to 1. */
  mass: number;
  setMass: (mass: number) => void;
}

export function useDrawn(): Drawn {
  const [head, setHead] = useState(0);
  const [overlay, setOverlay] = useState(0.6);
  const [mass, setMass] = useState(1);
  return { head, setHead, overlay, setOverlay, mass, setMass };
}

export interface MapSlidersProps {
  drawn: Drawn;
  heads: number;
  /** Sides that the picture may be computed at, in pixels; none when it is not computed here. */
  resolution?: { side: number; patchSize: number; largest: number; onSide: (side: number) => void };
}

/** Rows of a `.sliders` grid. */
export function MapSliders({ drawn, heads, resolution }: MapSlidersProps) {
  const { head, overlay, mass } = drawn;
  return (
    <>
      <Slider
        label="Head"
        value={head}
        min={0}
        max={heads}
        step={1}
        text={head === 0 ? 'mean' : String(head)}
        onChange={drawn.setHead}
      />
      <Slider
        label="Overlay"
        value={overlay}
        min={0}
        max={1}
        step={0.05}
        text={percent(overlay)}
        onChange={drawn.setOverlay}
      />
      <Slider
        label="Mass shown"
        value={mass}
        min={0.05}
        max={1}
        step={0.05}
        text={percent(mass)}
        onChange={drawn.setMass}
      />
      {resolution !== undefined && (
        <Slider
          label="Resolution"
          value={resolution.side}
          min={4 * resolution.patchSize}
          max={resolution.largest}
          step={resolution.patchSize}
          text={`${resolution.side} px`}
          onChange={resolution.onSide}
        />
      )}
    </>
  );
}

export interface HeadStripProps {
  picture: CanvasImageSource;
  rows: number;
  columns: number;
  heads: number;
  /** (heads, rows, columns) */
  maps: Float32Array;
  mean: Float32Array;
  /** 0 is the mean. */
  head: number;
  overlay: number;
  onChange: (head: number) => void;
}

/** A map of a head: 0 is the mean, 1 the first. */
export function mapOf(
  shown: Pick<HeadStripProps, 'rows' | 'columns' | 'maps' | 'mean'>,
  head: number,
): Float32Array {
  const patches = shown.rows * shown.columns;
  return head === 0 ? shown.mean : shown.maps.subarray((head - 1) * patches, head * patches);
}

function HeadPicture({ shown, head }: { shown: HeadStripProps; head: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { picture, rows, columns, overlay } = shown;
  const scale = Math.max(1, Math.round(168 / Math.max(rows, columns)));
  useLayoutEffect(() => {
    const map = mapOf(shown, head);
    if (canvas.current !== null) paint(canvas.current, { picture, rows, columns, overlay, map });
  });
  return <canvas ref={canvas} width={columns * scale} height={rows * scale} aria-hidden="true" />;
}

/** Every head at once; one of them is chosen. */
export function HeadStrip(props: HeadStripProps) {
  const { heads, head, onChange } = props;
  return (
    <ul class="heads" aria-label="Heads">
      {Array.from({ length: heads + 1 }, (_, i) => (
        <li key={i}>
          <button type="button" aria-pressed={i === head} onClick={() => onChange(i)}>
            <HeadPicture shown={props} head={i} />
            {headName(i)}
          </button>
        </li>
      ))}
    </ul>
  );
}

const imageOf = (data: DataTransfer | null): File | null =>
  [...(data?.files ?? [])].find((file) => file.type.startsWith('image/')) ?? data?.files[0] ?? null;

export interface PickImageProps {
  /** What the button says. */
  label: string;
  onImage: (image: File) => void;
  /** Whether images pasted anywhere in the page are taken. */
  takesPaste: boolean;
  children?: ComponentChildren;
}

/** Takes an image by a file dialog, dropped on it, or pasted. */
export function PickImage({ label, onImage, takesPaste, children }: PickImageProps) {
  const [isOver, setOver] = useState(false);
  useEffect(() => {
    if (!takesPaste) return;
    const paste = (event: ClipboardEvent): void => {
      const image = imageOf(event.clipboardData);
      if (image === null) return;
      event.preventDefault();
      onImage(image);
    };
    document.addEventListener('paste', paste);
    return () => document.removeEventListener('paste', paste);
  }, [onImage, takesPaste]);
  return (
    <div
      class={isOver ? 'pick-image over' : 'pick-image'}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const image = imageOf(event.dataTransfer);
        if (image !== null) onImage(image);
      }}
    >
      <label class="file">
        {label}
        <input
          class="hidden"
          type="file"
          accept="image/*"
          onChange={(event) => {
            const { files } = event.currentTarget;
            const image = files?.[0];
            if (image !== undefined) onImage(image);
            event.currentTarget.value = ''; // the same file may be picked again
          }}
        />
      </label>
      <p class="note">or drop one here{takesPaste ? ', or paste it' : ''}</p>
      {children}
    </div>
  );
}
