/** How fast this machine multiplies matrices in a dtype: for `dino doctor` and the benchmark. */
import { randn } from './creation.js';
import { synchronize } from './device.js';
import type { DType } from './dtype.js';
import { linear } from './kernels.js';
import { noGrad } from './modes.js';
import { scope } from './scope.js';

/**
 * Times square matrix products of about the size of a transformer's layers, for about `milliseconds`.
 *
 * @returns GFLOP/s of the fastest product.
 */
export function measureMatmul(device: string, dtype: DType, milliseconds = 150): number {
  return scope(() =>
    noGrad(() => {
      const time = (size: number): { run: () => number; flops: number } => {
        const a = randn([size, size], { device }).to(dtype);
        const b = randn([size, size], { device }).to(dtype);
        const run = (): number => {
          const start = performance.now();
          scope(() => void linear(a, b)); // in a layer's product every precision applies
          synchronize(device);
          return performance.now() - start;
        };
        run(); // the first product also loads kernels and fills caches
        return { run, flops: 2 * size ** 3 };
      };
      // A dtype without vector instructions is hundreds of times slower: a small product shows that in milliseconds.
      const small = time(256);
      const smallTook = small.run();
      const size = device === 'cpu' ? 1024 : 4096;
      const isSlow = device === 'cpu' && smallTook * (size / 256) ** 3 > 4 * milliseconds;
      const { run, flops } = isSlow ? small : time(size);
      let best = isSlow ? smallTook : Infinity;
      let spent = best === Infinity ? 0 : best;
      while (spent < milliseconds) {
        const took = run();
        spent += took;
        best = Math.min(best, took);
      }
      return flops / (best * 1e6);
    }),
  );
}
