/**
 * Only the matrix products of a training step, of matrices that are in bfloat16 already, by libtorch: the roofline of a step in
 * bfloat16. A turn gives the seconds of all of a step's products, from the time of each shape by itself.
 */
import { linear, manualSeed, noGrad, randn, scope, setNumThreads } from '../dist/torch/index.js';
import { contestant } from './contestant.mjs';
import { stepProducts } from './flops.mjs';

const c = JSON.parse(process.argv[2]);
setNumThreads(c.threads);
manualSeed(0);
const random = (...shape) => randn(shape).to('bfloat16');
/** At most so many of a shape's products of activations are computed; the others take as long. */
const MOST = 256;

const shapes = stepProducts(c).map(({ rows, inner, columns, count, isData }) => {
  const some = Math.min(count, MOST);
  if (isData) {
    const a = random(some, rows, inner);
    const b = random(some, inner, columns);
    return { run: () => void a.bmm(b), times: count / some };
  }
  const x = random(rows, inner);
  const weight = random(columns, inner);
  return { run: () => void linear(x, weight), times: count };
});

const seconds = ({ run }) => {
  let best = Infinity;
  for (let i = 0; i < 3; i++) {
    const start = performance.now();
    scope(run);
    best = Math.min(best, (performance.now() - start) / 1000);
  }
  return best;
};

await contestant(() => ({
  units: 1,
  products: noGrad(() => shapes.reduce((sum, shape) => sum + shape.times * seconds(shape), 0)),
}));
