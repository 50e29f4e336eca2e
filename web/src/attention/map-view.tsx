/** A picture with a map over its patches, of which one can be picked by mouse or keys; used wherever maps are drawn. */
import { useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { massMask } from '../../../src/plain/maps.ts';
import { percent } from '../ui/format.ts';
import { paint, type Painting } from './paint.ts';
import './attention.css';

/** What is shown of each patch. */
export type PatchMap =
  /** Shares of the attention, (rows, columns); colours go from the smallest to the largest. */
  | { kind: 'attention'; values: Float32Array }
  /** Cosine similarities to one patch, (rows, columns); colours go from 0 to 1. `patch` is null when it is in another picture. */
  | { kind: 'likeness'; values: Float32Array; patch: number | null }
  /** The colours themselves, (rows, columns, 3). */
  | { kind: 'colors'; values: Uint8Array };

export interface MapViewProps extends Pick<Painting, 'picture' | 'rows' | 'columns' | 'overlay'> {
  map: PatchMap;
  /** Of attention, the patches that hold this share are shown, 0 to 1; the others are dimmed. */
  mass: number;
  /** A description for screen readers. */
  label: string;
  /** Longer side on the screen, CSS pixels; narrower where there is no room. */
  size?: number;
  /** Called with a patch's number when it is clicked, or Enter is pressed on it. */
  onPick?: ((patch: number) => void) | undefined;
}

/** Where a patch is, in words. */
export const placeOf = (patch: number, columns: number): string =>
  `row ${Math.floor(patch / columns) + 1}, column ${(patch % columns) + 1}`;

/** What a map says about a patch, in words. */
function reading({ kind, values }: PatchMap, patch: number): string {
  if (kind === 'colors') return values.slice(patch * 3, patch * 3 + 3).join(', ');
  return kind === 'likeness' ? values[patch]!.toFixed(3) : percent(values[patch]!, 2);
}

const STEPS: Readonly<Record<string, readonly [dx: number, dy: number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

export function MapView(props: MapViewProps) {
  const { picture, rows, columns, overlay, map, mass, label, size = 480, onPick } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [over, setOver] = useState<number | null>(null);
  // a whole number of pixels for each patch, so that patches are sharp and equally wide
  const scale = Math.max(1, Math.round((size * Math.min(2, devicePixelRatio)) / Math.max(rows, columns)));
  const mask = useMemo(
    () => (map.kind === 'attention' && mass < 1 ? massMask(map.values, mass) : null),
    [map.kind, map.values, mass],
  );
  const marked = map.kind === 'likeness' ? map.patch : null;
  const range = map.kind === 'likeness' ? ([0, 1] as const) : undefined;
  useLayoutEffect(() => {
    if (canvas.current === null) return;
    paint(canvas.current, { picture, rows, columns, overlay, map: map.values, range, mask, marked });
  });
  const patchAt = (event: MouseEvent): number => {
    const box = canvas.current!.getBoundingClientRect();
    const bound = (value: number, most: number): number => Math.min(most - 1, Math.max(0, Math.floor(value)));
    const x = bound(((event.clientX - box.left) / box.width) * columns, columns);
    const y = bound(((event.clientY - box.top) / box.height) * rows, rows);
    return y * columns + x;
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = STEPS[event.key];
    const at = over ?? marked ?? 0;
    if (step !== undefined) {
      const x = Math.min(columns - 1, Math.max(0, (at % columns) + step[0]));
      const y = Math.min(rows - 1, Math.max(0, Math.floor(at / columns) + step[1]));
      setOver(y * columns + x);
      event.preventDefault();
    } else if ((event.key === 'Enter' || event.key === ' ') && onPick !== undefined) {
      onPick(at);
      event.preventDefault();
    }
  };
  const shown = over === null ? null : Math.min(over, rows * columns - 1);
  return (
    <div class="map-view">
      <canvas
        ref={canvas}
        width={columns * scale}
        height={rows * scale}
        style={{ width: `${Math.round((size * columns) / Math.max(rows, columns))}px` }}
        {...(onPick === undefined
          ? { role: 'img', 'aria-label': label }
          : {
              role: 'application',
              tabIndex: 0,
              'aria-label': `${label}. Arrow keys move over the patches, Enter picks one.`,
              onClick: (event: MouseEvent) => onPick(patchAt(event)),
              onKeyDown,
            })}
        onPointerMove={(event) => setOver(patchAt(event))}
        onPointerLeave={() => setOver(null)}
        onBlur={() => setOver(null)}
      />
      <p class="note reading" aria-live="polite">
        {shown === null
          ? 'Point at a patch to read its value.'
          : `${placeOf(shown, columns)}: ${reading(map, shown)}`}
      </p>
    </div>
  );
}
