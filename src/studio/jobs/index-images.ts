/** Makes an index, or brings one up to date; then lays out its map. */
import { ConfigError } from '../../errors.js';
import { buildIndex, type BuildIndexResult } from '../../explore/build-index.js';
import { ImageIndex } from '../../explore/image-index.js';
import { makeMap, readMap } from '../../explore/map.js';
import { printable } from '../../plain/printable.js';
import { loadModel } from '../../model.js';
import type { JobFunction } from './job.js';

const PARTS = { images: 'images', views: 'other views of images', check: 'checked searches' };

/** What the command line says too; the images that can't be read are in the index. */
function notesOn({ added, changed, removed, rebuilt, remarks }: BuildIndexResult): string[] {
  return [
    `${added} new, ${changed} changed, ${removed} removed`,
    ...(rebuilt === null ? [] : [`embedded everything again: ${rebuilt}`]),
    ...remarks,
  ];
}

export const run: JobFunction<'index-images'> = async (input, context) => {
  const { signal } = context;
  const notes: string[] = [];
  if (input.weights !== null) {
    const { given, images, numHeads } = input.weights;
    using model = loadModel(given, numHeads === undefined ? {} : { numHeads });
    // an index is kept: it must not rest on a guess that nobody sees
    if (model.origin.headsAreGuess)
      throw new ConfigError(
        `${printable(given)} doesn't say how many attention heads its model has, and its tensors don't either: fill in the attention heads`,
      );
    const built = await buildIndex(model, images, {
      ...{ output: input.index, weights: { given, ...(numHeads === undefined ? {} : { numHeads }) }, signal },
      onProgress: ({ part, done, total }) =>
        context.progress({
          done,
          total,
          message: `${PARTS[part]}: ${done} of ${total}`,
        }),
    });
    notes.push(...notesOn(built));
  }
  using index = ImageIndex.open(input.index);
  if (readMap(index) === null)
    await makeMap(index, {
      signal,
      onProgress: (done, total) => context.progress({ done, total, message: `map: ${done} of ${total}` }),
    });
  return { index: input.index, notes };
};
