/** What all sections use: what the studio is, its events, folders, pictures, tasks. */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { streamSSE } from 'hono/streaming';
import { z } from 'zod';
import { hasImageExtension } from '../../data/list/image-extensions.js';
import { isRunFolder } from '../../run/run-folder.js';
import type { FolderEntry, FolderListing, StudioEvent } from '../../plain/studio-api/index.js';
import { type GivenFolders, StudioError } from '../files.js';
import { uploadOf } from '../uploads.js';
import { parse, pictureReply, queryNumber, type Routes, route } from './route.js';

/** The most images of a folder that are listed. */
const IMAGES_LISTED = 1000;
/**
 * An event now and then keeps proxies from closing a silent connection, shows which pages are gone, and shows the pages that
 * the studio is there: they say when none comes.
 */
const HEARTBEAT_MS = 2000;

const isImage = (name: string): boolean => !name.startsWith('.') && hasImageExtension(name);

/** Entries that are read for the counts of a listing; a listing must come at once. */
const COUNTED_ENTRIES = 50_000;

/** How many entries may still be read. */
interface Budget {
  left: number;
}

/** Images in a folder and below it. Links and hidden entries are left out, and what runs hold. */
async function countBelow(folder: string, budget: Budget): Promise<FolderEntry['below']> {
  const found = { images: 0, folders: 0, isWhole: true };
  const waiting = [folder];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    if (budget.left <= 0) return { ...found, isWhole: false };
    if (isRunFolder(at)) continue;
    const entries = await readdir(at, { withFileTypes: true }).catch(() => []);
    budget.left -= entries.length + 1;
    const images = entries.filter((entry) => !entry.isDirectory() && isImage(entry.name)).length;
    found.images += images;
    if (images > 0) found.folders++;
    for (const entry of entries)
      if (entry.isDirectory() && !entry.name.startsWith('.')) waiting.push(path.join(at, entry.name));
  }
  return found;
}

async function describeFolder(
  folder: string,
  budget: Budget,
): Promise<Pick<FolderEntry, 'images' | 'below' | 'isRun'>> {
  try {
    const names = await readdir(folder);
    const images = names.filter(isImage).length;
    return { images, below: await countBelow(folder, budget), isRun: isRunFolder(folder) };
  } catch {
    return { images: null, below: { images: 0, folders: 0, isWhole: true }, isRun: false };
  }
}

/** What is in a folder. Hidden entries are left out, and links that lead outside the given folders. */
async function listFolder(folders: GivenFolders, folder: string, from: number): Promise<FolderListing> {
  const entries = await readdir(folder, { withFileTypes: true });
  const found: FolderEntry[] = [];
  const images: FolderListing['images'] = [];
  let imageCount = 0;
  const budget = { left: COUNTED_ENTRIES };
  entries.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    const full = path.join(folder, entry.name);
    let isDirectory = entry.isDirectory();
    if (entry.isSymbolicLink()) {
      try {
        isDirectory = (await stat(await folders.resolve(full))).isDirectory();
      } catch {
        continue;
      }
    }
    if (isDirectory) found.push({ name: entry.name, path: full, ...(await describeFolder(full, budget)) });
    else if (isImage(entry.name)) {
      const place = imageCount++;
      if (place >= from && place < from + IMAGES_LISTED) images.push({ name: entry.name, path: full });
    }
  }
  const parent = path.dirname(folder);
  return { path: folder, parent: folders.holds(parent) ? parent : null, folders: found, images, imageCount };
}

async function listRoots(folders: GivenFolders): Promise<FolderListing> {
  const budget = { left: COUNTED_ENTRIES };
  const found = await Promise.all(
    folders.roots.map(async (root) => ({ name: root, path: root, ...(await describeFolder(root, budget)) })),
  );
  return { path: '', parent: null, folders: found, images: [], imageCount: 0 };
}

export const common: Routes = (app, studio) => {
  const { folders, events, pictures, tasks } = studio;

  route(app, 'GET /api/studio', {}, () => ({
    version: studio.version,
    folders: [...folders.roots],
    platform: process.platform,
  }));

  route(
    app,
    'GET /api/folders',
    {
      query: z.object({
        path: z.string().max(4096).optional(),
        from: queryNumber(z.int().min(0)).optional(),
      }),
    },
    async (input) => {
      const { path: wanted, from = 0 } = input.query;
      return wanted === undefined || wanted === ''
        ? listRoots(folders)
        : listFolder(folders, await folders.folder(wanted), from);
    },
  );

  route(app, 'GET /api/tasks', {}, () => tasks.list());
  route(app, 'POST /api/tasks/:task/cancel', {}, ({ params }) => tasks.cancel(params.task));

  /** A picture of at most `size` pixels, encoded again: the bytes of a file never reach the browser. */
  const pictureQuery = z.object({
    path: z.string().min(1).max(4096).optional(),
    upload: z.string().max(64).optional(),
    size: queryNumber(z.int().min(16).max(2048)).default(256),
  });
  app.get('/api/picture', async (context) => {
    const query = parse(pictureQuery, context.req.query(), 'query');
    const { path: file, upload, size } = query;
    if (file === undefined && upload === undefined)
      throw new StudioError(400, 'query.path is missing; expected the path of an image');
    const source = upload === undefined ? await folders.file(file!) : uploadOf(upload);
    const bytes = await pictures.thumbnail(source, size, context.req.raw.signal);
    return pictureReply(context, bytes, 'image/webp');
  });

  app.get('/api/events', (context) =>
    streamSSE(context, async (stream) => {
      const queue: StudioEvent[] = [
        { type: 'runs', runs: studio.runs.list() },
        ...tasks.list().map((task): StudioEvent => ({ type: 'task', task })),
      ];
      let wake = (): void => undefined;
      const end = events.listen((event) => {
        queue.push(event);
        wake();
      });
      stream.onAbort(() => wake());
      try {
        while (!stream.aborted && !stream.closed) {
          for (const event of queue.splice(0)) await stream.writeSSE({ data: JSON.stringify(event) });
          if (queue.length > 0 || stream.aborted) continue;
          let timer: NodeJS.Timeout | undefined;
          await new Promise<void>((resolve) => {
            wake = resolve;
            timer = setTimeout(resolve, HEARTBEAT_MS);
          });
          clearTimeout(timer);
          if (queue.length === 0) queue.push({ type: 'beat' });
        }
      } finally {
        end();
      }
    }),
  );
};
