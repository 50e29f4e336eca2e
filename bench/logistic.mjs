/** Logistic regression on features in memory, from rows to a layer: class centres and noise, of very different scales. */
import { LogisticProblem } from '../dist/classify/logistic.js';
import { manualSeed, randn, setNumThreads } from '../dist/torch/index.js';
import { contestant } from './contestant.mjs';

const c = JSON.parse(process.argv[2]);
setNumThreads(c.threads);
manualSeed(0);
const centres = randn([c.classes, c.width]).toTypedArray();
const rows = randn([c.train, c.width]).toTypedArray();
const labels = Array.from({ length: c.train }, (_, i) => i % c.classes);
rows.forEach((noise, i) => {
  const d = i % c.width;
  const centre = centres[labels[Math.floor(i / c.width)] * c.width + d];
  rows[i] = (0.15 * centre + noise) * 10 ** ((2 * d) / c.width - 1);
});
await contestant(() => {
  const problem = new LogisticProblem(rows, c.width, labels, c.classes);
  problem.layer(problem.fit({ c: c.c }));
  problem.dispose();
  return 1;
});
