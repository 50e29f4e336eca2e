/** The parts of gifenc that are used; the package has no types. */
declare module 'gifenc' {
  type Palette = number[][];
  /** @param rgba - (pixels, 4) */
  export function quantize(rgba: Uint8ClampedArray, colors: number): Palette;
  /** @returns The index of each pixel's colour in the palette. */
  export function applyPalette(rgba: Uint8ClampedArray, palette: Palette): Uint8Array;
  export interface FrameOptions {
    palette: Palette;
    /** Milliseconds. */
    delay?: number;
    /** 0: forever. */
    repeat?: number;
  }
  export function GIFEncoder(): {
    writeFrame(index: Uint8Array, width: number, height: number, options: FrameOptions): void;
    finish(): void;
    bytes(): Uint8Array<ArrayBuffer>;
  };
}
