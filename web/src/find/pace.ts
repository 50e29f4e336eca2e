/** A frame that takes longer than this, in milliseconds, is too slow for 60 a second. */
const SLOW = 12;

/**
 * Finds out whether this machine draws all points in time. The graphics card's queue takes many frames before it stalls, so
 * frames are not counted: one is waited for, by reading a pixel of it. The first frame compiles, the second is measured.
 */
export class Pace {
  #frames = 0;
  #start = 0;
  isSlow = false;

  begins(): void {
    this.#start = performance.now();
  }
  /** @returns Whether another frame is wanted, to be measured. */
  ended(gl: WebGL2RenderingContext): boolean {
    if (++this.#frames > 2) return false;
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    this.isSlow = this.#frames === 2 && performance.now() - this.#start > SLOW;
    return this.#frames === 1;
  }
}
