/** The section Find: indexes of images, and questions to them. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { ConfigError } from '../../errors.js';
import { manifestPath, readManifest } from '../../explore/index-format.js';
import { labelSchema } from '../../explore/labels.js';
import { checkNewFile, checkPutFolder, freeName } from '../../explore/put-images.js';
import type { FindAnswer, FindAsk, LabelGroup } from '../../plain/studio-api.js';
import type { Jobs } from '../jobs/job.js';
import { type GivenFolders, StudioError } from '../files.js';
import { QUESTION_LIMIT, UPLOAD_LIMIT } from '../../plain/limits.js';
import { bodyBytes, parse, queryNumber, type Routes, route, type Studio } from './route.js';

/** Everything but the map is sent as JSON. */
function answerOf(answer: Jobs['find']['output']): FindAnswer {
  if (answer.kind === 'map') throw new Error('internal: a map is sent as bytes');
  return answer;
}

/** Rows of a question: a lasso may hold a million. */
const rows = z.array(z.int().nonnegative()).max(1_000_000);
const name = z.string().min(1).max(4096);
const region = z.tuple([z.number(), z.number(), z.number(), z.number()]);

const askSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('about') }),
  z.object({ kind: z.literal('images'), rows: rows.max(1000) }),
  z.object({
    ...{ kind: z.literal('search'), plus: rows.max(100), minus: rows.max(100) },
    ...{ region: region.optional(), top: z.int().min(1).max(1000) },
  }),
  z.object({ kind: z.literal('duplicates'), threshold: z.number().gt(0).max(1) }),
  z.object({ kind: z.literal('clusters'), clusters: z.int().min(1).max(1000).optional() }),
  z.object({ kind: z.literal('outliers'), top: z.int().min(1).max(1000) }),
  z.object({
    ...{ kind: z.literal('select'), size: z.int().min(1).max(100_000) },
    by: z.enum(['diverse', 'typical', 'both']),
  }),
  z.object({ kind: z.literal('labels') }),
  z.object({ kind: z.literal('label'), label: labelSchema.nullable(), rows }),
  z.object({ kind: z.literal('propose') }),
  z.object({
    ...{ kind: z.literal('export'), how: z.enum(['list', 'copy', 'link']), target: name },
    // without a name, into the target itself
    groups: z
      .array(z.object({ label: labelSchema.or(z.literal('')), rows }))
      .max(1000)
      .optional(),
  }),
]);

/** @throws StudioError 409 when something would have to be replaced: the page offers another name. */
function checkFree(place: string, check: (place: string) => void): void {
  try {
    check(place);
  } catch (error) {
    throw new StudioError(409, (error as Error).message, 'TAKEN');
  }
}

/** Refuses a folder with a link that leads outside, or to nothing: an index is read from the folder and written to it. */
async function checkLinks(folders: GivenFolders, folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true }))
    if (entry.isSymbolicLink()) await folders.forWriting(path.join(folder, entry.name));
}

/** Refuses the index of other images: an index is brought up to date, never replaced. */
function checkOwn(folder: string, images: string): void {
  if (!existsSync(manifestPath(folder))) return checkPutFolder(folder);
  const { source } = readManifest(folder).images;
  if (path.resolve(source) === path.resolve(images)) return;
  throw new ConfigError(
    `${folder} is the index of ${source}: give another name, ${freeName(folder)} is not taken`,
  );
}

/** An index under the given folders, of images and by weights that lie under them too. */
async function indexFolder({ folders }: Studio, wanted: string): Promise<string> {
  const folder = await folders.folder(wanted);
  await checkLinks(folders, folder);
  const { images, weights } = readManifest(folder);
  // absolute, as in the job's process, whose working folder is not the first given folder
  await folders.folder(path.resolve(images.root));
  const file = path.resolve(weights.file);
  // missing weights are reported where they are needed
  if (existsSync(file)) await folders.weightsFile(file);
  return folder;
}

export const find: Routes = (app, studio) => {
  const { folders, jobs, pictures, tasks } = studio;

  /** Where images of an index are: each must lie under the given folders with all links followed. */
  const filesOf = async (index: string, rows: number[], signal: AbortSignal): Promise<string[]> => {
    const answer = await jobs.run('find', { index, ask: { kind: 'images', rows } }, { signal });
    const images = answer.kind === 'images' ? answer.images : [];
    return Promise.all(images.map((image) => folders.file(image.path)));
  };

  const labelGroups = async (index: string, signal: AbortSignal): Promise<LabelGroup[]> => {
    const answer = await jobs.run('find', { index, ask: { kind: 'labels' } }, { signal });
    return answer.kind === 'labels' ? answer.groups : [];
  };

  const checkedExport = async (
    index: string,
    { how, target, groups }: Extract<FindAsk, { kind: 'export' }>,
    signal: AbortSignal,
  ) => {
    const place = await folders.forWriting(target);
    checkFree(place, how === 'list' ? checkNewFile : checkPutFolder);
    const paths = new Map<string, string[]>();
    for (const { label, rows } of groups ?? (await labelGroups(index, signal)))
      paths.set(label, (paths.get(label) ?? []).concat(await filesOf(index, rows, signal)));
    return { kind: 'put' as const, how, target: place, groups: paths };
  };

  route(
    app,
    'POST /api/find/index',
    {
      body: z.object({
        ...{ weights: name, images: name, output: name },
        numHeads: z.int().min(1).max(65_536).optional(),
      }),
    },
    async ({ body }) => {
      const given = await folders.resolve(body.weights);
      await folders.weights(given);
      const images = await folders.resolve(body.images);
      const index = await folders.forWriting(body.output);
      if (existsSync(index)) {
        await checkLinks(folders, await folders.folder(index));
        checkFree(index, (folder) => checkOwn(folder, images));
      }
      const { numHeads } = body;
      const input = { index, weights: { given, images, numHeads } };
      return tasks.start('index-images', `Indexing ${path.basename(images)}`, input, (output) => output);
    },
  );

  route(app, 'POST /api/find/map', { body: z.object({ index: name }) }, async ({ body }) => {
    const index = await indexFolder(studio, body.index);
    const title = `Laying out the map of ${path.basename(index)}`;
    return tasks.start('index-images', title, { index, weights: null }, (output) => output);
  });

  route(app, 'GET /api/find/map', { query: z.object({ index: name }) }, async ({ query, signal }) => {
    const index = await indexFolder(studio, query.index);
    const answer = await jobs.run('find', { index, ask: { kind: 'map' } }, { signal });
    const positions = answer.kind === 'map' ? answer.positions : null;
    if (positions === null) throw new StudioError(404, 'This index has no map yet.', 'NO_MAP');
    return new Uint8Array(positions.buffer, positions.byteOffset, positions.byteLength);
  });

  route(
    app,
    'POST /api/find/ask',
    { body: z.object({ index: name, ask: askSchema }), limit: QUESTION_LIMIT },
    async ({ body, signal }) => {
      const index = await indexFolder(studio, body.index);
      const { ask } = body;
      const asked = async (): Promise<Jobs['find']['input']['ask']> => {
        if (ask.kind === 'export') return checkedExport(index, ask, signal);
        if (ask.kind === 'search' && ask.region !== undefined)
          return { ...ask, files: await filesOf(index, ask.plus, signal) };
        return ask;
      };
      return answerOf(await jobs.run('find', { index, ask: await asked() }, { signal }));
    },
  );

  const uploadQuery = z.object({
    index: name,
    region: z
      .string()
      .transform((text) => text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part))))
      .pipe(region)
      .optional(),
    top: queryNumber(z.int().min(1).max(1000)),
  });
  app.post('/api/upload/find', async (context) => {
    const query = parse(uploadQuery, context.req.query(), 'query');
    const upload = await bodyBytes(context, UPLOAD_LIMIT);
    const index = await indexFolder(studio, query.index);
    await pictures.size(upload, context.req.raw.signal); // before it is handed on
    const answer = await jobs.run(
      'find',
      {
        index,
        ask: {
          ...{ kind: 'search', plus: [], minus: [], top: query.top, upload },
          ...(query.region === undefined ? {} : { region: query.region }),
        },
      },
      { signal: context.req.raw.signal },
    );
    return context.json(answerOf(answer));
  });
};
