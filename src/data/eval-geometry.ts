/** Where the pixels of an evaluation come from, as torchvision has it. Plain arithmetic: pages in a browser use it too. */
import type { Rectangle } from './crops.js';

/** torchvision's Resize with one number: the shorter side becomes `size`, the longer one is cut off to whole pixels. */
export function resizedShape(width: number, height: number, size: number): { width: number; height: number } {
  if (width <= height) return { width: size, height: Math.floor((size * height) / width) };
  return { width: Math.floor((size * width) / height), height: size };
}

/** torchvision's CenterCrop; its int(round(...)) is Python's, a half to the even number. */
export function centerCropWindow(shape: { width: number; height: number }, size: number): Rectangle {
  const start = (length: number) => {
    const half = (length - size) / 2;
    return half % 1 === 0 ? half : Math.floor(half) + (Math.floor(half) % 2);
  };
  return { x: start(shape.width), y: start(shape.height), width: size, height: size };
}
