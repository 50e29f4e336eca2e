/**
 * Features of images with transformers.js, from a folder written by `dino export --format transformers`; this package itself
 * is no longer needed.
 *
 *   node examples/transformers.mjs MODEL_FOLDER [fp32|q8] IMAGE...
 */
import { env, pipeline, RawImage } from '@huggingface/transformers';
import path from 'node:path';

const [folder, dtype, ...images] = process.argv.slice(2);
if (!folder || images.length === 0) throw new Error('usage: transformers.mjs MODEL_FOLDER fp32|q8 IMAGE...');

env.allowRemoteModels = false; // only the folder
env.localModelPath = path.dirname(path.resolve(folder));

const extract = await pipeline('image-feature-extraction', path.basename(folder), { dtype });
for (const image of images) {
  const pixels = await RawImage.read(image);
  const tokens = await extract(pixels); // (1, 1 + patches, width), the class token first
  const [feature] = (await extract(pixels, { pool: true })).tolist(); // (width), the class token
  console.log(JSON.stringify({ image, dims: tokens.dims, tokens: [...tokens.data], feature }));
}
await extract.dispose();
