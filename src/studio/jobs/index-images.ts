/** Makes an index, or brings one up to date; then lays out its map. */
import { buildIndex } from '../../explore/build-index.js';
import { ImageIndex } from '../../explore/image-index.js';
import { makeMap, readMap } from '../../explore/map.js';
import { loadModel } from '../../weights/load.js';
import type { JobFunction } from './index.js';

export const run: JobFunction<'index-images'> = async (input, context) => {
  const { signal } = context;
  if (input.weights !== null) {
    using model = loadModel(input.weights.given);
    const { given, images } = input.weights;
    await buildIndex(model, images, {
      ...{ output: input.index, weights: { given }, signal },
      onProgress: ({ part, done, total }) =>
        context.progress({
          done,
          total,
          message: `${part === 'images' ? 'images' : 'checked searches'}: ${done} of ${total}`,
        }),
    });
  }
  using index = ImageIndex.open(input.index);
  if (readMap(index) === null)
    await makeMap(index, {
      signal,
      onProgress: (done, total) => context.progress({ done, total, message: `map: ${done} of ${total}` }),
    });
  return { index: input.index };
};
