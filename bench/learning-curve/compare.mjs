/**
 * The table of docs/learning-curve.md, from the results of both programs:
 *
 *   node bench/learning-curve/compare.mjs reference-*.json ours-*.json
 */
import { readFileSync } from 'node:fs';

const nameOf = ({ who, precision }) => (who === 'dino-ts' ? `ours, ${precision}` : 'reference');
const results = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file, 'utf8')));
/** The results of a program in one precision, one for each seed; the reference's come first. */
const groups = [...new Set(results.map(nameOf))]
  .map((name) => ({ name, runs: results.filter((result) => nameOf(result) === name) }))
  .sort((a, b) => (a.name === 'reference' ? -1 : b.name === 'reference' ? 1 : 0));
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

const [first] = groups;
const cell = (values, digits) => `${mean(values).toFixed(digits)} (${range(values, digits)})`;
const row = (cells) => console.log(`| ${cells.join(' | ')} |`);
const head = (cells) => {
  row(cells);
  row(cells.map(() => '---'));
};

console.log(`Seeds: ${groups.map(({ name, runs }) => `${runs.length} of ${name}`).join('; ')}.`);
for (const [key, title] of [
  ['loss', 'loss'],
  ['teacherEntropy', "teacher's entropy"],
]) {
  console.log();
  head([`epoch, ${title}`, ...groups.map(({ name }) => name), 'ranges meet']);
  const { curve, stepsPerEpoch } = first.runs[0];
  for (let epoch = 0; epoch < curve.length / stepsPerEpoch; epoch++) {
    const [expected, ...found] = groups.map(({ runs }) => epochMeans(runs, key, epoch));
    const meet = found.every((values) => gap(expected, values) === 0);
    row([epoch + 1, ...[expected, ...found].map((values) => cell(values, 3)), meet ? 'yes' : 'no']);
  }
}
console.log();
head(['k', ...groups.map(({ name }) => `k-NN top-1, ${name}`), `means' distance from the first`]);
for (const k of Object.keys(first.runs[0].knn)) {
  const [expected, ...found] = groups.map(({ runs }) => runs.map(({ knn }) => knn[k]));
  const distances = found.map((values) => (mean(values) - mean(expected)).toFixed(2));
  row([k, ...[expected, ...found].map((values) => cell(values, 2)), distances.join(', ')]);
}
