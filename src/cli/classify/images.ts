/** The images that dino classify and dino segment predict. */

/**
 * An image by its own path as a list of one; a folder, a list and shards as they are.
 * @throws DataError for an image that doesn't exist: before a model is loaded for it.
 */
export async function imagesToPredict(given: string): Promise<string | string[]> {
  const [{ hasImageExtension }, { statIfThere }, { DataError }, { printable }] = await Promise.all([
    import('../../data/index.js'),
    import('../../files/guarded.js'),
    import('../../errors.js'),
    import('../../plain/printable.js'),
  ]);
  if (!hasImageExtension(given)) return given;
  if (statIfThere(given) === undefined)
    throw new DataError(
      `There is no ${printable(given)}: give an image, a folder of images, a text file with one path a line, or shards`,
    );
  return [given];
}
