/** The section Look: which models there are, uploaded images, and what a model sees in one or two images. */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { hasImageExtension } from '../../data/list/image-extensions.js';
import { checkpointsPath, listCheckpoints } from '../../run/checkpoint-files.js';
import type { LookFacts, LookModel, LookModels } from '../../plain/studio-api/index.js';
import { UPLOAD_LIMIT } from '../../plain/limits.js';
import { packArrays } from '../../plain/packed.js';
import type { GivenFolders } from '../files.js';
import { keepUpload, uploadOf } from '../uploads.js';
import { bodyBytes, type Routes, route, type Studio } from './route.js';

/** Attention's memory grows with their square; the reference's largest picture (480, patches of 8) has 3,600. */
const MAX_PATCHES = 4096;
/** Levels below the given folders in which weights are looked for. */
const MODEL_DEPTH = 3;
/** Folders that are read for them below each given one: a folder of many images is only one, and takes none from the others. */
const MODEL_FOLDERS = 2000;
const WEIGHTS = /\.(pth|pt|bin|safetensors)$/i;

/** The files in a folder that are named like weights, also links to one that the studio may read, and the folders in it. */
async function weightsIn(folder: string, given: GivenFolders): Promise<{ files: string[]; below: string[] }> {
  const isLinkedFile = async (link: string): Promise<boolean> =>
    (await given.reaches(link)) &&
    (await stat(link).then(
      (one) => one.isFile(),
      () => false,
    ));
  const files: string[] = [];
  const below: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    if (entry.name.startsWith('.') || entry.name === 'checkpoints') continue; // a run's are listed with it
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) below.push(full);
    else if (!WEIGHTS.test(entry.name)) continue;
    else if (entry.isFile() || (entry.isSymbolicLink() && (await isLinkedFile(full)))) files.push(full);
  }
  return { files, below };
}

/** Files of weights outside the checkpoints of runs. */
async function weightFiles(given: GivenFolders): Promise<{ files: string[]; isWhole: boolean }> {
  const files: string[] = [];
  let isWhole = true;
  for (const root of given.roots) {
    let foldersLeft = MODEL_FOLDERS;
    let level = [root];
    for (let depth = 0; depth <= MODEL_DEPTH; depth++) {
      if (level.length > foldersLeft) isWhole = false;
      const looked = level.slice(0, foldersLeft);
      foldersLeft -= looked.length;
      level = [];
      for (const folder of looked) {
        const found = await weightsIn(folder, given);
        files.push(...found.files);
        level.push(...found.below);
      }
      level.sort();
    }
  }
  return { files, isWhole };
}

/** Images that are offered to begin with, and folders that are read for them. */
const SAMPLES = 12;
const SAMPLE_FOLDERS = 60;

/** Folders of pictures that nobody wants to look at. */
const ANSWERS = /^(masks?|labels?|annotations?)$/i;

/** Images from near the top of the given folders, as many from each folder. Links and what a run holds are left out. */
async function samplesOf(roots: readonly string[]): Promise<{ name: string; path: string }[]> {
  const found: string[][] = [];
  let folders = [...roots];
  for (let left = SAMPLE_FOLDERS; left > 0 && folders.length > 0;) {
    const below: string[] = [];
    for (const folder of folders.slice(0, left)) {
      left--;
      const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
      if (entries.some(({ name }) => name === 'config.json' || name === 'metrics.jsonl')) continue;
      const images: string[] = [];
      for (const entry of entries) {
        if (entry.name.startsWith('.') || ANSWERS.test(entry.name)) continue;
        if (entry.isDirectory()) below.push(path.join(folder, entry.name));
        else if (entry.isFile() && hasImageExtension(entry.name)) images.push(path.join(folder, entry.name));
      }
      if (images.length > 0) found.push(images.sort());
    }
    folders = below.sort();
  }
  const each = Math.ceil(SAMPLES / Math.max(1, found.length));
  const taken = found.flatMap((images) => images.slice(0, each));
  const step = Math.max(1, taken.length / SAMPLES);
  return Array.from({ length: Math.min(SAMPLES, taken.length) }, (_, i) => taken[Math.floor(i * step)]!).map(
    (file) => ({ name: path.basename(file), path: file }),
  );
}

async function modelsOf({ folders, runs }: Studio): Promise<LookModels> {
  const found: LookModel[] = [];
  for (const { path: run, name } of await runs.refresh()) {
    if (!(await folders.reaches(checkpointsPath(run)))) continue;
    const checkpoints = listCheckpoints(run).map(({ step, folder }) => ({ step, path: folder }));
    if (checkpoints.length > 0) found.push({ path: run, name, kind: 'run', checkpoints });
  }
  const { files, isWhole } = await weightFiles(folders);
  for (const file of files) {
    const root = folders.roots.find((one) => file.startsWith(one + path.sep));
    const name = root === undefined ? file : path.relative(root, file);
    found.push({ path: file, name, kind: 'file', checkpoints: [] });
  }
  return { models: found, isWhole };
}

const lookSchema = z.object({
  weights: z.string().min(1).max(4096),
  checkpointKey: z.string().min(1).max(256),
  numHeads: z.int().min(1).max(65_536).nullable().optional(),
  images: z
    .array(
      z.union([z.object({ path: z.string().min(1).max(4096) }), z.object({ upload: z.string().max(64) })]),
    )
    .min(1)
    .max(2),
  side: z.int().min(1).max(8192).nullable(),
});

export const look: Routes = (app, studio) => {
  const { folders, jobs, pictures } = studio;

  route(app, 'GET /api/look/models', {}, () => modelsOf(studio));

  route(app, 'GET /api/look/samples', {}, () => samplesOf(folders.roots));

  app.post('/api/upload/look', async (context) => {
    const bytes = await bodyBytes(context, UPLOAD_LIMIT);
    return context.json(await keepUpload(pictures, bytes, context.req.raw.signal));
  });

  route(app, 'POST /api/look', { body: lookSchema }, async ({ body, signal }) => {
    const { weights: wanted, side } = body;
    // the page asks for the teacher first, or for whatever network there is
    const checkpointKey = body.checkpointKey === 'teacher' ? null : body.checkpointKey;
    const weights = await folders.weights(wanted, checkpointKey ?? undefined);
    const images: (string | Uint8Array)[] = [];
    for (const image of body.images)
      images.push('path' in image ? await folders.file(image.path) : uploadOf(image.upload));
    const numHeads = body.numHeads ?? null;
    const input = { weights, checkpointKey, numHeads, images, side, maxPatches: MAX_PATCHES, pca: true };
    const { images: seen, ...facts } = await jobs.run('look', input, { signal });
    const arrays = seen.flatMap(({ image, maps, features, colours, allColours }) => [
      ...[image, maps],
      ...(features === null ? [] : [features]),
      ...(colours === null || allColours === null ? [] : [colours, allColours]),
    ]);
    return packArrays(
      {
        ...facts,
        images: seen.map((one) => {
          const { rows, columns, width, height, heads, limit, isSqueezed, features, colours } = one;
          return {
            ...{ rows, columns, width, height, heads, limit, isSqueezed },
            original: one.covered,
            hasFeatures: features !== null,
            hasColours: colours !== null,
          };
        }),
      } satisfies LookFacts,
      arrays,
    );
  });
};
