/** The heads of the last block: their maps, their names, and a strip of all of them. */
import { useLayoutEffect, useRef } from 'preact/hooks';
import { paint } from './paint.ts';
import './attention.css';

/** A picture and what each head attends to in it. */
export interface Attention {
  picture: CanvasImageSource;
  rows: number;
  columns: number;
  heads: number;
  /** (heads, rows, columns) */
  maps: Float32Array;
  /** (rows, columns) */
  mean: Float32Array;
}

/** The name of a choice of head; 0 is the mean. */
export const headName = (head: number): string => (head === 0 ? 'mean of heads' : `head ${head}`);

/** A map of a head, (rows, columns): 0 is the mean, 1 the first. */
export function mapOf(
  { rows, columns, maps, mean }: Pick<Attention, 'rows' | 'columns' | 'maps' | 'mean'>,
  head: number,
): Float32Array {
  const patches = rows * columns;
  return head === 0 ? mean : maps.subarray((head - 1) * patches, head * patches);
}

function HeadPicture({ shown, head, overlay }: { shown: Attention; head: number; overlay: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { picture, rows, columns } = shown;
  const scale = Math.max(1, Math.round(168 / Math.max(rows, columns)));
  useLayoutEffect(() => {
    const map = mapOf(shown, head);
    if (canvas.current !== null) paint(canvas.current, { picture, rows, columns, overlay, map });
  });
  return <canvas ref={canvas} width={columns * scale} height={rows * scale} aria-hidden="true" />;
}

export interface HeadStripProps {
  shown: Attention;
  /** Which head is chosen: 0 is the mean, -1 none. */
  head: number;
  overlay: number;
  onChange: (head: number) => void;
}

/** Every head at once; one of them is chosen. */
export function HeadStrip({ shown, head, overlay, onChange }: HeadStripProps) {
  return (
    <ul class="heads" aria-label="Heads">
      {Array.from({ length: shown.heads + 1 }, (_, i) => (
        <li key={i}>
          <button type="button" aria-pressed={i === head} onClick={() => onChange(i)}>
            <HeadPicture shown={shown} head={i} overlay={overlay} />
            {headName(i)}
          </button>
        </li>
      ))}
    </ul>
  );
}
