/** The film of a run's watched images: the list of them, their pictures, and the maps of a frame. */
import path from 'node:path';
import { readGuarded } from '../../files/guarded.js';
import {
  frameName,
  listWatched,
  MAX_WATCH_BYTES,
  readFrame,
  runOf,
  type WatchedImage,
  watchPath,
} from '../../run/film-folder.js';
import type { FilmFrameFacts } from '../../plain/studio-api.js';
import { StudioError } from '../files.js';
import { packArrays } from '../../plain/packed.js';
import { pictureReply, type Routes, route } from './route.js';

export const film: Routes = (app, studio) => {
  const { folders, runs } = studio;

  const imagesOf = async (run: string): Promise<WatchedImage[]> => {
    const folder = runs.list().find(({ id }) => id === run)?.path;
    if (folder === undefined) throw new StudioError(404, 'This run is not there any more.', 'GONE');
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
    if (image === undefined)
      throw new StudioError(404, `The run watches no image ${name} (any more).`, 'GONE');
    return image;
  };

  route(app, 'GET /api/runs/:run/watch', {}, async ({ params }) =>
    (await imagesOf(params.run)).map(({ name, source, width, height, rows, columns, steps }) => ({
      ...{ name, width, height, rows, columns, steps },
      source: path.basename(source),
    })),
  );

  route(app, 'GET /api/runs/:run/watch/:image/frames/:step', {}, async ({ params }) => {
    const image = await imageOf(params.run, params.image);
    const step = Number(params.step);
    if (!Number.isSafeInteger(step) || step < 0) throw new StudioError(400, `${params.step} is not a step.`);
    const file = await folders.file(path.join(image.folder, frameName(step)));
    const { heads, rows, columns, maps } = readFrame({ ...image, folder: path.dirname(file) }, step);
    return packArrays({ step, heads, rows, columns } satisfies FilmFrameFacts, [maps]);
  });

  app.get('/api/runs/:run/watch/:image/picture', async (context) => {
    const image = await imageOf(context.req.param('run'), context.req.param('image'));
    const within = runOf(image);
    const bytes = readGuarded(image.picture, { within, maxBytes: MAX_WATCH_BYTES });
    return pictureReply(context, bytes, 'image/png');
  });
};
