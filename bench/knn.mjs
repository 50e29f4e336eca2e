/** Weighted k-NN with k of 10, 20, 100 and 200, on features in memory. */
import { knnClassify } from '../dist/eval/knn.js';
import { manualSeed, randn, setNumThreads } from '../dist/torch/index.js';
import { contestant } from './contestant.mjs';

const c = JSON.parse(process.argv[2]);
setNumThreads(c.threads);
manualSeed(0);
const set = (count) => ({
  features: randn([count, c.width]),
  labels: Array.from({ length: count }, (_, i) => i % 1000),
});
const [train, test] = [set(c.train), set(c.val)];
await contestant(() => {
  knnClassify(train, test);
  return 1;
});
