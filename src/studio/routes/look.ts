/** The section Look: which models there are, uploaded images, and what a model sees in one or two images. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { checkpointsPath, listCheckpoints } from '../../run/checkpoint-files.js';
import type { LookFacts, LookModel } from '../../plain/studio-api.js';
import { UPLOAD_LIMIT } from '../../plain/limits.js';
import { packArrays } from '../../plain/packed.js';
import { keepUpload, uploadOf } from '../uploads.js';
import { bodyBytes, type Routes, route, type Studio } from './route.js';

/** Attention's memory grows with their square; the reference's largest picture (480, patches of 8) has 3,600. */
const MAX_PATCHES = 4096;
/** Levels below the given folders in which weights are looked for, and entries read in all. */
const MODEL_DEPTH = 3;
const MODEL_ENTRIES = 20_000;
const WEIGHTS = /\.(pth|pt|bin|safetensors)$/i;

/** Files that are named like weights, outside the checkpoints of runs. */
async function weightFiles(roots: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  let entriesLeft = MODEL_ENTRIES;
  let folders = [...roots];
  for (let depth = 0; depth <= MODEL_DEPTH; depth++) {
    const below: string[] = [];
    for (const folder of folders) {
      const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
      entriesLeft -= entries.length;
      if (entriesLeft < 0) return files;
      for (const entry of entries) {
        if (entry.name.startsWith('.') || entry.name === 'checkpoints') continue;
        const full = path.join(folder, entry.name);
        if (entry.isDirectory()) below.push(full);
        else if (entry.isFile() && WEIGHTS.test(entry.name)) files.push(full);
      }
    }
    folders = below;
  }
  return files;
}

async function modelsOf({ folders, runs }: Studio): Promise<LookModel[]> {
  const found: LookModel[] = [];
  for (const { path: run, name } of await runs.refresh()) {
    if (!(await folders.reaches(checkpointsPath(run)))) continue;
    const checkpoints = listCheckpoints(run).map(({ step, folder }) => ({ step, path: folder }));
    if (checkpoints.length > 0) found.push({ path: run, name, kind: 'run', checkpoints });
  }
  for (const file of await weightFiles(folders.roots)) {
    const root = folders.roots.find((one) => file.startsWith(one + path.sep));
    const name = root === undefined ? file : path.relative(root, file);
    found.push({ path: file, name, kind: 'file', checkpoints: [] });
  }
  return found;
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

  app.post('/api/upload/look', async (context) => {
    const bytes = await bodyBytes(context, UPLOAD_LIMIT);
    return context.json(await keepUpload(pictures, bytes, context.req.raw.signal));
  });

  route(app, 'POST /api/look', { body: lookSchema }, async ({ body, signal }) => {
    const { weights: wanted, checkpointKey, side } = body;
    const weights = await folders.weights(wanted, checkpointKey);
    const images: (string | Uint8Array)[] = [];
    for (const image of body.images)
      images.push('path' in image ? await folders.file(image.path) : uploadOf(image.upload));
    const numHeads = body.numHeads ?? null;
    const input = { weights, checkpointKey, numHeads, images, side, maxPatches: MAX_PATCHES, pca: true };
    const { images: seen, ...facts } = await jobs.run('look', input, { signal });
    const arrays = seen.flatMap(({ image, maps, features, colours }) => [
      ...[image, maps],
      ...(features === null ? [] : [features]),
      ...(colours === null ? [] : [colours]),
    ]);
    return packArrays(
      {
        ...facts,
        images: seen.map(({ rows, columns, width, height, heads, features, colours }) => ({
          ...{ rows, columns, width, height, heads },
          hasFeatures: features !== null,
          hasColours: colours !== null,
        })),
      } satisfies LookFacts,
      arrays,
    );
  });
};
