/**
 * Trains on a folder of images, then finds the most similar images:
 *
 *   node examples/train-and-search.mjs PHOTOS RUN [setting=value ...]
 */
import { gatherFacts, listImages, loadModel, machineFacts, resolveSettings, train } from 'dino-ts';

const [folder, run, ...pairs] = process.argv.slice(2);
if (!folder || !run) throw new Error('usage: train-and-search.mjs PHOTOS RUN [setting=value ...]');

const images = await listImages(folder);
const facts = await gatherFacts(
  images.items.map(({ path }) => path),
  machineFacts('cpu'),
);
const flags = Object.fromEntries(pairs.map((pair) => pair.split('=')));
const { settings, choices } = resolveSettings({ preset: 'auto', flags, facts });
for (const { name, value, reason } of choices) console.error(`${name} = ${value}: ${reason}`);

await train({
  images,
  output: run,
  settings,
  onEvent(event) {
    if (event.type === 'step' && event.metrics)
      console.error(`step ${event.step} loss ${event.metrics.loss.toFixed(3)}`);
    if (event.type === 'warning') console.error(event.message);
  },
});

const model = loadModel(run);
const { features, paths, shape } = await model.embed(images);
const [count, width] = shape;

/** Cosine similarity of two rows of the features. */
function similarity(a, b) {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < width; i++) {
    const [x, y] = [features[a * width + i], features[b * width + i]];
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  return dot / Math.sqrt(aa * bb);
}

const query = 0;
const neighbours = Array.from({ length: count }, (_, i) => ({
  path: paths[i],
  similarity: similarity(query, i),
}))
  .filter((_, i) => i !== query)
  .sort((a, b) => b.similarity - a.similarity)
  .slice(0, 5);
console.log(JSON.stringify({ query: paths[query], neighbours }, null, 2));
model.dispose();
