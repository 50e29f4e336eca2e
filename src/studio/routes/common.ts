/** What all sections use: what the studio is, its events, folders, pictures, tasks. */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { streamSSE } from 'hono/streaming';
import { z } from 'zod';
import { hasImageExtension } from '../../data/list/image-extensions.js';
import { isRunFolder } from '../../run/run-folder.js';
import type { FolderEntry, FolderListing, StudioEvent } from '../../plain/studio-api.js';
import { type GivenFolders, StudioError } from '../files.js';
import { uploadOf } from '../uploads.js';
import { parse, pictureReply, queryNumber, type Routes, route } from './route.js';

/** The most images of a folder that are listed. */
const IMAGES_LISTED = 1000;
/** A line now and then keeps proxies from closing a silent connection, and shows which pages are gone. */
const HEARTBEAT_MS = 15_000;

const isImage = (name: string): boolean => !name.startsWith('.') && hasImageExtension(name);

async function describeFolder(folder: string): Promise<Pick<FolderEntry, 'images' | 'isRun'>> {
  try {
    const names = await readdir(folder);
    return { images: names.filter(isImage).length, isRun: isRunFolder(folder) };
  } catch {
    return { images: null, isRun: false };
  }
}

/** What is in a folder. Hidden entries are left out, and links that lead outside the given folders. */
async function listFolder(folders: GivenFolders, folder: string): Promise<FolderListing> {
  const entries = await readdir(folder, { withFileTypes: true });
  const found: FolderEntry[] = [];
  const images: FolderListing['images'] = [];
  let imageCount = 0;
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
    if (isDirectory) found.push({ name: entry.name, path: full, ...(await describeFolder(full)) });
    else if (isImage(entry.name) && ++imageCount <= IMAGES_LISTED)
      images.push({ name: entry.name, path: full });
  }
  const parent = path.dirname(folder);
  return { path: folder, parent: folders.holds(parent) ? parent : null, folders: found, images, imageCount };
}

async function listRoots(folders: GivenFolders): Promise<FolderListing> {
  const found = await Promise.all(
    folders.roots.map(async (root) => ({ name: root, path: root, ...(await describeFolder(root)) })),
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
    { query: z.object({ path: z.string().max(4096).optional() }) },
    async (input) => {
      const { path: wanted } = input.query;
      return wanted === undefined || wanted === ''
        ? listRoots(folders)
        : listFolder(folders, await folders.folder(wanted));
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
          if (queue.length === 0 && !stream.aborted) await stream.write(': still here\n\n');
        }
      } finally {
        end();
      }
    }),
  );
};
