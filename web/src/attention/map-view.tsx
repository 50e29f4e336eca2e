/** A picture with a map over its patches, of which one can be picked by mouse or keys; used wherever maps are drawn. */
import { useMemo, useRef, useState } from 'preact/hooks';
import { massMask } from '../../../src/plain/maps.ts';
import { percent } from '../ui/format.ts';
import { ColorScale } from './color-scale.tsx';
import { MapCanvas } from './map-canvas.tsx';
import type { Painting } from './paint.ts';
import './attention.css';

/** What is shown of each patch. */
export type PatchMap =
  /** Shares of the attention, (rows, columns); colours go from the smallest to the largest. */
  | { kind: 'attention'; values: Float32Array }
  /**
   * Cosine similarities to one patch, (rows, columns); colours go from 0 to 1, or with `isScaled` from the smallest to the
   * largest. `patch` is null when it is in another picture.
   */
  | { kind: 'likeness'; values: Float32Array; patch: number | null; isScaled?: boolean }
  /** The colours themselves, (rows, columns, 3). */
  | { kind: 'colors'; values: Uint8Array };

export interface MapViewProps extends Pick<
  Painting,
  'picture' | 'part' | 'rows' | 'columns' | 'overlay' | 'style'
> {
  map: PatchMap;
  /** Of attention, the patches that hold this share are shown, 0 to 1. */
  mass: number;
  /** A description for screen readers. */
  label: string;
  /** Longer side on the screen, CSS pixels; narrower where there is no room. */
  size?: number;
  /** Called with a patch's number when it is clicked, or Enter is pressed on it. */
  onPick?: ((patch: number) => void) | undefined;
  /** Called with the patch under the pointer or the keys' cursor; null when it leaves. */
  onPoint?: ((patch: number | null) => void) | undefined;
}

/** Where a patch is, in words. */
export const placeOf = (patch: number, columns: number): string =>
  `row ${Math.floor(patch / columns) + 1}, column ${(patch % columns) + 1}`;

/** What a map says about a patch, in words. */
function reading({ kind, values }: PatchMap, patch: number): string {
  if (kind === 'colors') return values.slice(patch * 3, patch * 3 + 3).join(', ');
  return kind === 'likeness' ? values[patch]!.toFixed(3) : percent(values[patch]!, 2);
}

/** The values at the two ends of the colours, in words; null for colours that are not a scale. */
function endsOf(map: PatchMap): { low: string; high: string } | null {
  if (map.kind === 'colors') return null;
  if (map.kind === 'likeness' && map.isScaled !== true) return { low: '0', high: '1: the same' };
  let [low, high] = [Infinity, -Infinity];
  for (const value of map.values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return map.kind === 'likeness'
    ? { low: low.toFixed(2), high: high.toFixed(2) }
    : { low: percent(low, 2), high: `${percent(high, 2)} of the attention` };
}

const STEPS: Readonly<Record<string, readonly [dx: number, dy: number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

export function MapView(props: MapViewProps) {
  const {
    picture,
    part,
    rows,
    columns,
    overlay,
    style,
    map,
    mass,
    label,
    size = 620,
    onPick,
    onPoint,
  } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [over, setOver] = useState<number | null>(null);
  const point = (patch: number | null): void => {
    if (patch === over) return;
    setOver(patch);
    onPoint?.(patch);
  };
  const mask = useMemo(
    () => (map.kind === 'attention' && mass < 1 ? massMask(map.values, mass) : null),
    [map.kind, map.values, mass],
  );
  const marked = map.kind === 'likeness' ? map.patch : null;
  const range = map.kind === 'likeness' && map.isScaled !== true ? UNIT : undefined;
  const ends = useMemo(() => endsOf(map), [map]);
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
      point(y * columns + x);
      event.preventDefault();
    } else if ((event.key === 'Enter' || event.key === ' ') && onPick !== undefined) {
      onPick(at);
      event.preventDefault();
    }
  };
  const shown = over === null ? null : Math.min(over, rows * columns - 1);
  return (
    <div class="map-view">
      <MapCanvas
        canvas={canvas}
        painting={{ picture, part, rows, columns, overlay, style, map: map.values, range, mask, marked }}
        size={size}
        width={Math.round((size * columns) / Math.max(rows, columns))}
        {...(onPick === undefined
          ? { role: 'img', 'aria-label': label }
          : {
              role: 'application',
              tabIndex: 0,
              'aria-label': `${label}. Arrow keys move over the patches, Enter picks one.`,
              onClick: (event: MouseEvent) => onPick(patchAt(event)),
              onKeyDown,
            })}
        onPointerMove={(event: PointerEvent) => point(patchAt(event))}
        onPointerLeave={() => point(null)}
        onBlur={() => point(null)}
      />
      <p class="note under">
        <span class="reading" aria-live="polite">
          {shown === null
            ? 'Point at a patch to see its value.'
            : `${placeOf(shown, columns)}: ${reading(map, shown)}`}
        </span>
        {ends !== null && <ColorScale {...ends} />}
      </p>
    </div>
  );
}

const UNIT = [0, 1] as const;
