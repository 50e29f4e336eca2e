/** A picture with a map over its patches, of which one can be picked by mouse or keys; used wherever maps are shown. */
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { paint, type Painting } from './paint.ts';
import './attention.css';

export interface MapViewProps extends Painting {
  /** What is seen, for who doesn't see it. */
  label: string;
  /** Longer side on the screen, CSS pixels; narrower where there is no room. */
  size?: number;
  /** Called with a patch's number when it is clicked, or Enter pressed on it. */
  onPick?: ((patch: number) => void) | undefined;
  /** What a patch's value says, in words. */
  describe?: ((patch: number) => string) | undefined;
}

const STEPS: Readonly<Record<string, readonly [dx: number, dy: number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

export function MapView(props: MapViewProps) {
  const { rows, columns, label, size = 480, onPick, describe } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [over, setOver] = useState<number | null>(null);
  // whole pixels a patch, so that patches have sharp edges of the same width
  const scale = Math.max(1, Math.round((size * Math.min(2, devicePixelRatio)) / Math.max(rows, columns)));
  useLayoutEffect(() => {
    if (canvas.current !== null) paint(canvas.current, props);
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
    const at = over ?? props.marked ?? 0;
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
  const isPicked = onPick !== undefined;
  return (
    <div class="map-view">
      <canvas
        ref={canvas}
        width={columns * scale}
        height={rows * scale}
        style={{ width: `${Math.round((size * columns) / Math.max(rows, columns))}px` }}
        {...(isPicked
          ? {
              role: 'application',
              tabIndex: 0,
              'aria-label': `${label}. Arrow keys move over patches, Enter picks one.`,
            }
          : { role: 'img', 'aria-label': label })}
        onPointerMove={(event) => setOver(patchAt(event))}
        onPointerLeave={() => setOver(null)}
        onBlur={() => setOver(null)}
        {...(isPicked ? { onClick: (event: MouseEvent) => onPick(patchAt(event)), onKeyDown } : {})}
      />
      {describe !== undefined && (
        <p class="note reading" aria-live="polite">
          {over === null
            ? 'Point at a patch to read its value.'
            : describe(Math.min(over, rows * columns - 1))}
        </p>
      )}
    </div>
  );
}
