/** Saves the film as an animated GIF. */
import { applyPalette, GIFEncoder, quantize } from 'gifenc';
import { drawFrames, type FilmOptions } from './film-frames.ts';

/** @returns The file's bytes. */
export async function makeGif(options: FilmOptions): Promise<Blob> {
  const gif = GIFEncoder();
  for await (const { context, ms } of drawFrames(options)) {
    const { width, height } = context.canvas;
    const { data } = context.getImageData(0, 0, width, height);
    const palette = quantize(data, 256);
    gif.writeFrame(applyPalette(data, palette), width, height, { palette, delay: ms });
    await new Promise((resolve) => setTimeout(resolve)); // the page stays alive
  }
  gif.finish();
  return new Blob([gif.bytes()], { type: 'image/gif' });
}
