/** Attention, features and colours of images; the model of the last request stays loaded. */
import { statSync } from 'node:fs';
import { lookAt } from '../../explain/look.js';
import { loadModel, type Model } from '../../weights/load.js';
import type { JobFunction } from './index.js';

let loaded: { key: string; model: Model } | null = null;

/** A checkpoint that is written anew, under the same name too, is another model. */
function modelOf(weights: string, checkpointKey: string): Model {
  const { mtimeMs, size } = statSync(weights);
  const key = JSON.stringify([weights, checkpointKey, mtimeMs, size]);
  if (loaded?.key === key) return loaded.model;
  loaded?.model.dispose();
  loaded = null;
  loaded = { key, model: loadModel(weights, { checkpointKey }) };
  return loaded.model;
}

export const run: JobFunction<'look'> = async (input, { signal }) => {
  const { weights, checkpointKey, images, side, maxPatches, pca } = input;
  const model = modelOf(weights, checkpointKey);
  const start = performance.now();
  const result = await lookAt(model, images, {
    signal,
    pca,
    maxPatches,
    ...(side === null ? {} : { imageSize: side }),
  });
  const { arch, patchSize, imgSize } = model.architecture;
  return { ...result, arch, patchSize, imgSize, milliseconds: performance.now() - start };
};
