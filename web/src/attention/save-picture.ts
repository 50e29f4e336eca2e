/** What is shown of images as one picture to keep or to send. */
import { saveFile } from '../ui/save-file.ts';

/** Pixels between two images. */
const GAP = 16;

/** Saves canvases, side by side, as NAME.png. */
export function savePicture(canvases: readonly HTMLCanvasElement[], name: string): void {
  const all = document.createElement('canvas');
  all.width = canvases.reduce((sum, { width }) => sum + width, GAP * (canvases.length - 1));
  all.height = Math.max(...canvases.map(({ height }) => height));
  const context = all.getContext('2d')!;
  let left = 0;
  for (const canvas of canvases) {
    context.drawImage(canvas, left, 0);
    left += canvas.width + GAP;
  }
  all.toBlob((blob) => blob !== null && saveFile(blob, `${name}.png`), 'image/png');
}
