/** Attention, features and colours of images; the model of the last request stays loaded. */
import { statSync } from 'node:fs';
import { lookAt } from '../../explain/look.js';
import { loadModel, type Model } from '../../model.js';
import type { JobFunction } from './job.js';

let loaded: { key: string; model: Model } | null = null;

/** A checkpoint that is written again, even under the same name, is another model. */
function modelOf(weights: string, checkpointKey: string | null, numHeads: number | null): Model {
  const { mtimeMs, size } = statSync(weights);
  const key = JSON.stringify([weights, checkpointKey, numHeads, mtimeMs, size]);
  if (loaded?.key === key) return loaded.model;
  loaded?.model.dispose();
  loaded = null;
  const named = checkpointKey === null ? {} : { checkpointKey };
  loaded = { key, model: loadModel(weights, { ...named, ...(numHeads === null ? {} : { numHeads }) }) };
  return loaded.model;
}

export const run: JobFunction<'look'> = async (input, { signal }) => {
  const { weights, checkpointKey, numHeads, images, side, maxPatches, pca } = input;
  const model = modelOf(weights, checkpointKey, numHeads);
  const start = performance.now();
  const result = await lookAt(model, images, {
    signal,
    pca,
    maxPatches,
    ...(side === null ? {} : { imageSize: side }),
  });
  const { arch, patchSize, imgSize } = model.architecture;
  const { registers } = result;
  const left = registers === 0 ? [] : [`the attention to its ${registers} register tokens is not shown`];
  const remarks = [...model.origin.notes, ...model.origin.warnings, ...left];
  return { ...result, remarks, arch, patchSize, imgSize, milliseconds: performance.now() - start };
};
