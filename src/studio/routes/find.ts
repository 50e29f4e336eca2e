/** The section Find: indexes of images, and questions to them. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { ConfigError } from '../../errors.js';
import {
  manifestPath,
  readManifest,
  readManifestText,
  sampleIndexedImages,
} from '../../explore/index-format.js';
import { isOfOthers } from '../../explore/index-plan.js';
import { labelSchema } from '../../explore/labels.js';
import { isRunFolder } from '../../run/run-folder.js';
import { checkNewFile, checkPutFolder, freeName } from '../../files/new-places.js';
import { messageOf } from '../../plain/printable.js';
import type {
  FindAnswer,
  FindAsk,
  IndexCard,
  LabelGroup,
  OfGeneration,
} from '../../plain/studio-api/index.js';
import type { Jobs } from '../jobs/job.js';
import { type GivenFolders, StudioError } from '../files.js';
import { QUESTION_LIMIT } from '../../plain/limits.js';
import { uploadOf } from '../uploads.js';
import { queryNumber, type Routes, route, type Studio } from './route.js';

/** Everything but the map is sent as JSON. */
function answerOf(answer: Jobs['find']['output']): FindAnswer {
  if (answer.kind === 'map') throw new Error('internal: a map is sent as bytes');
  return answer;
}

/** Rows of a question: a lasso may hold a million. */
const rows = z.array(z.int().nonnegative()).max(1_000_000);
const name = z.string().min(1).max(4096);
const region = z.tuple([z.number(), z.number(), z.number(), z.number()]);

/** Of the rows in a question and in its answer. */
const of = { generation: z.int().nonnegative() };

const askSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('about') }),
  z.object({ ...of, kind: z.literal('images'), rows: rows.max(1000) }),
  z.object({ ...of, kind: z.literal('names') }),
  z.object({
    ...{ ...of, kind: z.literal('search'), plus: rows.max(100), minus: rows.max(100) },
    ...{ upload: z.string().max(64).optional(), region: region.optional(), top: z.int().min(1).max(1000) },
  }),
  z.object({ ...of, kind: z.literal('duplicates'), threshold: z.number().gt(0).max(1).optional() }),
  z.object({ ...of, kind: z.literal('pairs') }),
  z.object({ ...of, kind: z.literal('clusters'), clusters: z.int().min(1).max(1000).optional() }),
  z.object({ ...of, kind: z.literal('outliers') }),
  z.object({
    ...{ ...of, kind: z.literal('select'), size: z.int().min(1).max(100_000) },
    by: z.enum(['diverse', 'typical', 'both']),
  }),
  z.object({ ...of, kind: z.literal('labels') }),
  z.object({ ...of, kind: z.literal('label'), label: labelSchema.nullable(), rows }),
  z.object({ ...of, kind: z.literal('propose') }),
  z.object({
    ...{ ...of, kind: z.literal('export'), how: z.enum(['table', 'list', 'copy', 'link']), target: name },
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
  const manifest = readManifest(folder);
  if (!isOfOthers(manifest, images)) return; // whether they were moved is seen when they are listed
  throw new ConfigError(
    `${folder} is the index of ${manifest.images.source}: give another name, ${freeName(folder)} is not taken`,
  );
}

/** Levels below the given folders in which indexes are looked for, and folders read in all. */
const INDEX_DEPTH = 3;
const INDEX_FOLDERS = 5000;
/** Pictures on the card of an index. */
const CARD_PICTURES = 6;

/** Whether a folder's index.json is one of ours: other programs have files of that name. */
function isIndex(folder: string): boolean {
  try {
    return /"format":\s*"dino-index"/.test(readManifestText(folder) ?? '');
  } catch {
    return false; // a link, or too large
  }
}

/** A folder, and the given one that it is in. */
interface FolderOf {
  root: string;
  folder: string;
}

/** The indexes in the given folders, without those inside of runs and of other indexes. */
async function indexFolders(roots: readonly string[]): Promise<{ found: FolderOf[]; isWhole: boolean }> {
  const found: FolderOf[] = [];
  let left = INDEX_FOLDERS;
  let level = roots.map((root): FolderOf => ({ root, folder: root }));
  for (let depth = 0; depth <= INDEX_DEPTH; depth++) {
    const below: FolderOf[] = [];
    for (const { root, folder } of level) {
      if (left-- <= 0) return { found, isWhole: false };
      if (isRunFolder(folder)) continue;
      const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
      if (entries.some((entry) => entry.name === 'index.json') && isIndex(folder)) {
        found.push({ root, folder });
        continue;
      }
      for (const entry of entries)
        if (entry.isDirectory() && !entry.name.startsWith('.'))
          below.push({ root, folder: path.join(folder, entry.name) });
    }
    level = below;
  }
  return { found, isWhole: true };
}

async function cardOf(studio: Studio, root: string, folder: string): Promise<IndexCard> {
  const name = path.relative(root, folder) || path.basename(folder);
  try {
    await indexFolder(studio, folder);
    const manifest = readManifest(folder);
    const { images, weights, written } = manifest;
    const pictures = sampleIndexedImages(folder, manifest, CARD_PICTURES);
    return {
      ...{ folder, name, problem: null, images: images.count, source: images.source },
      ...{ weights: weights.given, written: Date.parse(written) },
      pictures: pictures.map((picture) => path.resolve(images.root, picture)),
    };
  } catch (error) {
    const nothing = { images: 0, source: '', weights: '', written: 0, pictures: [] };
    return { folder, name, problem: messageOf(error), ...nothing };
  }
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
  const { folders, jobs, tasks } = studio;

  route(app, 'GET /api/find/indexes', {}, async () => {
    const { found, isWhole } = await indexFolders(folders.roots);
    const indexes = await Promise.all(found.map(({ root, folder }) => cardOf(studio, root, folder)));
    return { indexes, isWhole };
  });

  /** Where images of an index are: each must lie under the given folders with all links followed. */
  const filesOf = async (
    index: string,
    { rows, generation }: { rows: number[] } & OfGeneration,
    signal: AbortSignal,
  ): Promise<string[]> => {
    const ask = { kind: 'images' as const, rows, generation };
    const answer = await jobs.run('find', { index, ask }, { signal });
    const images = answer.kind === 'images' ? answer.images : [];
    return Promise.all(images.map((image) => folders.file(image.path)));
  };

  const labelGroups = async (
    index: string,
    generation: number,
    signal: AbortSignal,
  ): Promise<LabelGroup[]> => {
    const answer = await jobs.run('find', { index, ask: { kind: 'labels', generation } }, { signal });
    return answer.kind === 'labels' ? answer.groups : [];
  };

  const checkedExport = async (
    index: string,
    { how, target, groups, generation }: Extract<FindAsk, { kind: 'export' }>,
    signal: AbortSignal,
  ) => {
    const place = await folders.forWriting(target);
    checkFree(place, how === 'list' || how === 'table' ? checkNewFile : checkPutFolder);
    const paths = new Map<string, string[]>();
    for (const { label, rows } of groups ?? (await labelGroups(index, generation, signal)))
      paths.set(label, (paths.get(label) ?? []).concat(await filesOf(index, { rows, generation }, signal)));
    return { kind: 'put' as const, generation, how, target: place, groups: paths };
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
      return tasks.start('index-images', `Indexing ${path.basename(images)}`, input, index);
    },
  );

  route(app, 'POST /api/find/map', { body: z.object({ index: name }) }, async ({ body }) => {
    const index = await indexFolder(studio, body.index);
    const title = `Laying out the map of ${path.basename(index)}`;
    return tasks.start('index-images', title, { index, weights: null }, index);
  });

  const mapQuery = z.object({ index: name, generation: queryNumber(of.generation) });
  route(app, 'GET /api/find/map', { query: mapQuery }, async ({ query, signal }) => {
    const index = await indexFolder(studio, query.index);
    const { generation } = query;
    const answer = await jobs.run('find', { index, ask: { kind: 'map', generation } }, { signal });
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
        if (ask.kind !== 'search') return ask;
        const { upload, ...search } = ask;
        if (upload !== undefined) return { ...search, image: uploadOf(upload) };
        return search.region === undefined
          ? search
          : {
              ...search,
              files: await filesOf(index, { rows: ask.plus, generation: ask.generation }, signal),
            };
      };
      return answerOf(await jobs.run('find', { index, ask: await asked() }, { signal }));
    },
  );
};
