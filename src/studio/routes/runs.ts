/** The section Runs: the list, one run, its curves. */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { NOTE_LIMIT } from '../../plain/limits.js';
import { changeRunNote, readRunNote } from '../../run/run-note.js';
import { StudioError } from '../files.js';
import { detailsMarkOf, detailsOf } from '../run-details.js';
import { readSeries } from '../series.js';
import { queryNumber, type Routes, route } from './route.js';

/** A long file is drawn as far as it has been read: a reply waits this long for all of it, and events announce the rest. */
const PATIENCE_MS = 300;

const seriesQuery = z.object({
  axis: z.enum(['step', 'time']),
  from: queryNumber().optional(),
  to: queryNumber().optional(),
  width: queryNumber(z.int().min(10).max(5000)),
  columns: z.string().max(2000),
});

export const runs: Routes = (app, studio) => {
  const { runs: watcher } = studio;

  route(app, 'GET /api/runs', {}, () => watcher.refresh());

  route(app, 'GET /api/runs/:run', {}, async ({ params }) => {
    const run = watcher.get(params.run);
    await run.look();
    await Promise.race([watcher.read(run), sleep(PATIENCE_MS)]);
    return detailsOf(run);
  });

  route(app, 'GET /api/runs/:run/series', { query: seriesQuery }, async ({ params, query }) => {
    const run = watcher.get(params.run);
    await Promise.race([watcher.read(run), sleep(PATIENCE_MS)]);
    const columns = query.columns.split(',').filter((name) => name !== '');
    return readSeries(run.log(), { ...query, columns }, await detailsMarkOf(run));
  });

  const note = z.string().max(NOTE_LIMIT);
  route(
    app,
    'POST /api/runs/:run/note',
    { body: z.object({ text: note, before: note }) },
    async ({ params, body }) => {
      const run = watcher.get(params.run);
      if (readRunNote(run.path).text !== body.before) {
        await run.look();
        throw new StudioError(
          409,
          `This note was changed elsewhere in the meantime, to “${run.summary.note}”. Save again to replace that.`,
          'CHANGED',
        );
      }
      changeRunNote(run.path, { text: body.text });
      await run.look();
      return run.summary;
    },
  );

  route(
    app,
    'POST /api/runs/:run/hidden',
    { body: z.object({ isHidden: z.boolean() }) },
    async ({ params, body }) => {
      const run = watcher.get(params.run);
      changeRunNote(run.path, body);
      await run.look();
      return run.summary;
    },
  );
};
