/** The film of a run's watched images: the list of them, their pictures, and the maps of a frame. */
import path from 'node:path';
import { attentionSize, coveredShares } from '../../plain/attention-size.js';
import { messageOf } from '../../plain/printable.js';
import { readGuarded } from '../../files/guarded.js';
import {
  frameName,
  listWatched,
  MAX_WATCH_BYTES,
  readFrame,
  runOf,
  WATCH_PATCHES,
  type WatchedImage,
  watchPath,
} from '../../run/film-folder.js';
import type { FilmFrameFacts } from '../../plain/studio-api/index.js';
import { StudioError } from '../files.js';
import { packArrays } from '../../plain/packed.js';
import { pictureReply, type Routes, route } from './route.js';

/** Of the originals, pixels. */
const ORIGINAL_SIDE = 1024;

/** The part of the original that a watched image's patches cover: exact for the sizes that training chooses. */
function partOfOriginal(image: WatchedImage, imgSizes: readonly (number | undefined)[]): [number, number] {
  const { rows, columns, patchSize, originalWidth, originalHeight } = image;
  for (const imgSize of imgSizes) {
    if (imgSize === undefined) continue;
    const target = attentionSize(
      originalWidth,
      originalHeight,
      { architecture: { imgSize, patchSize } },
      undefined,
      WATCH_PATCHES,
    );
    const isIt =
      Math.floor(target.width / patchSize) === columns && Math.floor(target.height / patchSize) === rows;
    if (isIt) return coveredShares(target, image);
  }
  // some size in which these are the whole patches
  const scale = Math.max((columns * patchSize) / originalWidth, (rows * patchSize) / originalHeight);
  return coveredShares({ width: scale * originalWidth, height: scale * originalHeight }, image);
}

export const film: Routes = (app, studio) => {
  const { folders, runs, pictures } = studio;

  const imagesOf = async (run: string): Promise<WatchedImage[]> => {
    const folder = runs.list().find(({ id }) => id === run)?.path;
    if (folder === undefined) throw new StudioError(404, 'This run no longer exists.', 'GONE');
    try {
      await folders.folder(watchPath(folder));
    } catch (error) {
      if (error instanceof StudioError && error.status === 404) return []; // it watches nothing
      throw error;
    }
    return listWatched(folder);
  };
  /** Only what is listed can be asked for. */
  const imageOf = async (run: string, name: string): Promise<WatchedImage> => {
    const image = (await imagesOf(run)).find((one) => one.name === name);
    if (image === undefined) throw new StudioError(404, `The run does not watch an image ${name}.`, 'GONE');
    return image;
  };

  route(app, 'GET /api/runs/:run/watch', {}, async ({ params }) => {
    const images = await imagesOf(params.run);
    const settings = runs.get(params.run).config?.settings;
    const sizes = [settings?.imgSize ?? undefined, settings?.globalCropsSize];
    return Promise.all(
      images.map(async (image) => {
        const { name, source, width, height, rows, columns, steps } = image;
        return {
          ...{ name, width, height, rows, columns, steps },
          source: path.basename(source),
          original: (await folders.reaches(source)) ? partOfOriginal(image, sizes) : null,
        };
      }),
    );
  });

  route(app, 'GET /api/runs/:run/frames/:step', {}, async ({ params }) => {
    const step = Number(params.step);
    if (!Number.isSafeInteger(step) || step < 0) throw new StudioError(400, `${params.step} is not a step.`);
    const facts: FilmFrameFacts = { step, images: [] };
    const arrays: Float32Array[] = [];
    for (const image of await imagesOf(params.run)) {
      if (!image.steps.includes(step)) continue;
      const { name, rows, columns } = image;
      try {
        const file = await folders.file(path.join(image.folder, frameName(step)));
        const { heads, maps } = readFrame({ ...image, folder: path.dirname(file) }, step);
        arrays.push(maps);
        facts.images.push({ name, heads, rows, columns, problem: null });
      } catch (error) {
        // the other images are shown all the same
        facts.images.push({ name, heads: 0, rows, columns, problem: messageOf(error) });
      }
    }
    return packArrays(facts, arrays);
  });

  /** The image that a watched one was made of, larger than the model sees it. */
  app.get('/api/runs/:run/watch/:image/original', async (context) => {
    const { source } = await imageOf(context.req.param('run'), context.req.param('image'));
    const bytes = await pictures.thumbnail(await folders.file(source), ORIGINAL_SIDE, context.req.raw.signal);
    return pictureReply(context, bytes, 'image/webp');
  });

  app.get('/api/runs/:run/watch/:image/picture', async (context) => {
    const image = await imageOf(context.req.param('run'), context.req.param('image'));
    const within = runOf(image);
    const bytes = readGuarded(image.picture, { within, maxBytes: MAX_WATCH_BYTES });
    return pictureReply(context, bytes, 'image/png');
  });
};
