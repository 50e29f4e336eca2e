import { useEffect, useRef } from 'preact/hooks';
import { pictureOf } from '../api.ts';

/** Sizes in which pictures are asked for: few, so that they are found in the browser's cache again. */
const SIZES = [96, 160, 256, 384, 640, 1024, 1600];

/** The size in which a picture is asked for that is drawn this wide, CSS pixels. */
export const sizeFor = (side: number): number =>
  SIZES.find((size) => size >= side * devicePixelRatio) ?? SIZES.at(-1)!;

export interface ThumbProps {
  path: string;
  /** CSS pixels. */
  side: number;
  /** '' where a name stands beside it. */
  alt: string;
}

/** A small picture of an image file. One that is scrolled away before it has come is not waited for. */
export function Thumb({ path, side, alt }: ThumbProps) {
  const element = useRef<HTMLImageElement>(null);
  useEffect(() => {
    const image = element.current;
    return () => image?.removeAttribute('src');
  }, []);
  return (
    <img
      ref={element}
      class="thumb"
      src={pictureOf(path, sizeFor(side))}
      alt={alt}
      decoding="async"
      draggable={false}
    />
  );
}
