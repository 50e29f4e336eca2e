/** Canvases with a picture, and with a map over it. */
import type { ComponentProps, Ref } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { paint, type Painting, paintPicture } from './paint.ts';

type CanvasProps = Omit<ComponentProps<'canvas'>, 'width' | 'height' | 'ref' | 'style' | 'size' | 'part'>;

/** Sides of a canvas, in its own pixels: a whole number for each patch, so that patches are sharp and equally wide. */
export function canvasSides(rows: number, columns: number, size: number): { width: number; height: number } {
  const pixels = size * Math.min(2, devicePixelRatio);
  const scale = Math.max(1, Math.round(pixels / Math.max(rows, columns)));
  return { width: columns * scale, height: rows * scale };
}

export interface MapCanvasProps extends CanvasProps {
  painting: Painting;
  /** Longer side, CSS pixels: for how sharp it is drawn. */
  size: number;
  canvas?: Ref<HTMLCanvasElement>;
  /** Width on the screen; without, the style sheet's. */
  width?: number;
}

export function MapCanvas({ painting, size, canvas: given, width, ...rest }: MapCanvasProps) {
  const own = useRef<HTMLCanvasElement>(null);
  const sides = canvasSides(painting.rows, painting.columns, size);
  useLayoutEffect(() => {
    if (own.current === null) return;
    paint(own.current, painting);
  }, [...(Object.values(painting) as unknown[]), sides.width, sides.height]);
  return (
    <canvas
      {...rest}
      ref={(element: HTMLCanvasElement | null) => {
        own.current = element;
        if (typeof given === 'function') given(element);
        else if (given) given.current = element;
      }}
      {...sides}
      {...(width === undefined ? {} : { style: { width: `${width}px` } })}
    />
  );
}

export interface PictureCanvasProps
  extends CanvasProps, Pick<Painting, 'picture' | 'part' | 'rows' | 'columns'> {
  size: number;
}

/** The picture beside its maps, cut as they are. */
export function PictureCanvas({ picture, part, rows, columns, size, ...rest }: PictureCanvasProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const sides = canvasSides(rows, columns, size);
  useLayoutEffect(() => {
    if (canvas.current !== null) paintPicture(canvas.current, { picture, part });
  }, [picture, part, sides.width, sides.height]);
  return <canvas {...rest} ref={canvas} {...sides} />;
}
