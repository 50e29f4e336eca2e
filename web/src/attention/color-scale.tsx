import { useLayoutEffect, useRef } from 'preact/hooks';
import { viridis } from '../../../src/plain/colors.ts';

const STEPS = 128;

/** What the colours of a map mean: the values at its two ends. */
export function ColorScale({ low, high }: { low: string; high: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    const context = canvas.current!.getContext('2d')!;
    for (let i = 0; i < STEPS; i++) {
      context.fillStyle = `rgb(${viridis(i / (STEPS - 1)).join(' ')})`;
      context.fillRect(i, 0, 1, 1);
    }
  }, []);
  return (
    <span class="color-scale note">
      <span>{low}</span>
      <canvas ref={canvas} width={STEPS} height={1} aria-hidden="true" />
      <span>{high}</span>
    </span>
  );
}
