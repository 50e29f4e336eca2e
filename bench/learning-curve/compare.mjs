/**
 * The table of docs/learning-curve.md, from the results of both programs:
 *
 *   node bench/learning-curve/compare.mjs reference-*.json ours-*.json
 */
import { readFileSync } from 'node:fs';

const results = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file, 'utf8')));
const ours = results.filter(({ who }) => who === 'dino-ts');
const reference = results.filter(({ who }) => who !== 'dino-ts');
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const range = (values, digits) =>
  `${Math.min(...values).toFixed(digits)} – ${Math.max(...values).toFixed(digits)}`;

/** Mean of a curve over one epoch, one value per seed. */
const epochMeans = (runs, key, epoch) =>
  runs.map(({ curve, stepsPerEpoch }) => {
    const part = curve.slice(epoch * stepsPerEpoch, (epoch + 1) * stepsPerEpoch);
    return mean(part.map((line) => line[key]));
  });
/** The distance between the ranges of two sets of values: 0 if they overlap. */
const gap = (a, b) => Math.max(0, Math.min(...a) - Math.max(...b), Math.min(...b) - Math.max(...a));

const epochs = ours[0].curve.length / ours[0].stepsPerEpoch;
console.log(`Seeds: ${reference.length} of the reference, ${ours.length} of ours.\n`);
console.log('| epoch | loss, reference | loss, ours | entropy, reference | entropy, ours | ranges meet |');
console.log('|---|---|---|---|---|---|');
for (let epoch = 0; epoch < epochs; epoch++) {
  const cells = [];
  let meet = true;
  for (const key of ['loss', 'teacherEntropy']) {
    const [a, b] = [epochMeans(reference, key, epoch), epochMeans(ours, key, epoch)];
    cells.push(`${mean(a).toFixed(3)} (${range(a, 3)})`, `${mean(b).toFixed(3)} (${range(b, 3)})`);
    meet &&= gap(a, b) === 0;
  }
  console.log(`| ${epoch + 1} | ${cells.join(' | ')} | ${meet ? 'yes' : 'no'} |`);
}
console.log('\n| k | k-NN top-1, reference | k-NN top-1, ours | difference of the means |');
console.log('|---|---|---|---|');
for (const k of Object.keys(ours[0].knn)) {
  const [a, b] = [reference.map(({ knn }) => knn[k]), ours.map(({ knn }) => knn[k])];
  console.log(
    `| ${k} | ${mean(a).toFixed(2)} (${range(a, 2)}) | ${mean(b).toFixed(2)} (${range(b, 2)}) | ${(mean(b) - mean(a)).toFixed(2)} |`,
  );
}
