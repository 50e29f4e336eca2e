/** The heads of the last block: their maps, their names, and a strip of all of them. */
import { useMemo } from 'preact/hooks';
import { MapCanvas } from './map-canvas.tsx';
import type { Painting } from './paint.ts';
import './attention.css';

/** A picture and what each head attends to in it. */
export interface Attention extends Pick<Painting, 'picture' | 'part' | 'rows' | 'columns'> {
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

export interface HeadStripProps extends Pick<Painting, 'overlay' | 'style'> {
  shown: Attention;
  /** Which head is chosen: 0 is the mean, -1 none. */
  head: number;
  onChange: (head: number) => void;
}

/** Every head at once; one of them is chosen. */
export function HeadStrip({ shown, head, overlay, style, onChange }: HeadStripProps) {
  const { picture, part, rows, columns, heads } = shown;
  const maps = useMemo(() => Array.from({ length: heads + 1 }, (_, i) => mapOf(shown, i)), [shown]);
  return (
    <ul class="heads" aria-label="Heads">
      {maps.map((map, i) => (
        <li key={i}>
          <button type="button" aria-pressed={i === head} onClick={() => onChange(i)}>
            <MapCanvas
              painting={{ picture, part, rows, columns, overlay, style, map }}
              size={104}
              aria-hidden="true"
            />
            {headName(i)}
          </button>
        </li>
      ))}
    </ul>
  );
}
