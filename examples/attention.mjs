/**
 * Where a model attends, in numbers: for each image the share of attention in each quarter of the picture.
 *
 *   node examples/attention.mjs RUN IMAGE...
 */
import { loadModel } from 'dino-ts';

const [run, ...images] = process.argv.slice(2);
if (!run || images.length === 0) throw new Error('usage: attention.mjs RUN IMAGE...');

const model = loadModel(run);
for (const image of images) {
  const { mean, rows, columns } = await model.attention(image); // (rows, columns), mean over the heads
  const quarters = [0, 0, 0, 0];
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++)
      quarters[2 * (2 * y >= rows) + (2 * x >= columns)] += mean[y * columns + x];
  }
  const total = quarters.reduce((sum, value) => sum + value);
  console.log(JSON.stringify({ image, quarters: quarters.map((value) => value / total) }));
}
model.dispose();
