/**
 * Writes images into tar shards in WebDataset's layout: for each image `key.cls` with the number of its class, if it has one,
 * and the file's bytes as `key.jpg` or with another extension. The same images make the same shards, to the byte. Each shard
 * is written under a temporary name and renamed; an interrupted call is continued after its last complete shard.
 */
import { createHash, type Hash } from 'node:crypto';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { imagesOrList } from '../arguments.js';
import {
  callback,
  checkCall,
  count,
  filePath,
  optionsOf,
  signal as abortSignal,
} from '../../plain/check-options.js';
import { writeFileWhole } from '../../files/atomic-file.js';
import { lockFolder } from '../../files/folder-lock.js';
import { readGuarded } from '../../files/guarded.js';
import { ConfigError, DataError } from '../../errors.js';
import { type ImageFormat, sniffFormat } from '../read/image-format.js';
import { ImageReader } from '../read/image-reader.js';
import { type ImageList, type ListOptions, firstSkipped, skippedPlace } from '../list/image-list.js';
import { hasImageExtension } from '../list/image-extensions.js';
import { type ListNotes, notesOf } from '../list/left-out.js';
import { listImages } from '../list/list-images.js';
import { PackedImages } from '../list/packed-images.js';
import { epochPermutation } from '../crops/philox.js';
import { DESCRIPTION, type ShardsDescription } from '../list/shards/description.js';
import { listShards, type ShardList } from '../list/shards/list-shards.js';
import { isShard } from '../list/shards/pattern.js';
import { NAME_FIELD } from '../list/shards/scan-tar.js';
import { badName } from '../list/shards/tar.js';
import { END, padding, tarHeader } from './tar-header.js';

export interface WriteShardsOptions extends Omit<ListOptions, 'onlyLabelled'> {
  /** The folder for the shards, made if it does not exist. One that already has shards is refused. */
  output: string;
  /** Most bytes of a shard, unless a single image is larger. Default 10^9. */
  shardSize?: number;
  /**
   * Seed of a random order, for readers that read shards from start to end; dino train does not need it. Default: the order
   * of the list, which keeps the fingerprint, so that a run can go on with its images as shards.
   */
  shuffle?: number;
  signal?: AbortSignal | undefined;
  /** Called after each image. */
  onImage?: (progress: { done: number; total: number; shards: number }) => void;
  /** Called when it waits, at most a minute, to see whether another process is still writing there. */
  onWait?: (message: string) => void;
}

export interface WriteShardsResult extends ListNotes {
  output: string;
  images: number;
  bytes: number;
  shards: string[];
  classes: number | null;
  /** Shards that an interrupted call had already written. */
  resumed: number;
  /** The index, which is written after the shards. */
  index: ShardList['index'];
  fingerprint: string;
  skipped: { path: string; reason: string }[];
}

const DEFAULT_SHARD_SIZE = 1e9;
/** Images that are read ahead of the one that is written. */
const AHEAD = 8;

/** Most bytes of the journal, which grows with the shards and with the images that were skipped. */
const MAX_JOURNAL = 2 ** 28;
const JOURNAL = '.dino-shards-unfinished.json';
const journalSchema = z.object({
  fingerprint: z.string(),
  shardSize: z.number(),
  shuffle: z.int().nullable(),
  /** The first image, in the order of writing, that isn't in these shards. */
  next: z.int().min(0),
  shards: z.array(z.object({ file: z.string(), images: z.int(), bytes: z.int(), sha256: z.string() })),
  skipped: z.array(z.object({ path: z.string(), reason: z.string() })),
});
type Journal = z.infer<typeof journalSchema>;

/** The journal of what was begun in the folder, or a new one. @throws DataError when the folder has other content */
function openJournal(output: string, plan: Pick<Journal, 'fingerprint' | 'shardSize' | 'shuffle'>): Journal {
  const file = path.join(output, JOURNAL);
  if (existsSync(path.join(output, DESCRIPTION))) {
    throw new DataError(
      `${output} already holds shards (${DESCRIPTION}): choose another --output, or delete them.`,
    );
  }
  if (existsSync(file)) {
    let journal: Journal;
    try {
      journal = journalSchema.parse(
        JSON.parse(readGuarded(file, { maxBytes: MAX_JOURNAL }).toString('utf8')),
      );
    } catch (error) {
      throw new DataError(`${file} is damaged: delete ${output} and start again.`, { cause: error });
    }
    const { fingerprint, shardSize, shuffle } = journal;
    if (fingerprint !== plan.fingerprint || shardSize !== plan.shardSize || shuffle !== plan.shuffle) {
      throw new DataError(
        `${output} holds unfinished shards of other images, or with another --shard-size or --shuffle: use the ` +
          'same as before to continue, or delete them.',
      );
    }
    const missing = journal.shards.filter((shard) => !existsSync(path.join(output, shard.file)));
    if (missing.length > 0) {
      throw new DataError(
        `${output} lacks ${missing.map((shard) => shard.file).join(', ')}, which were written earlier: delete it and start again.`,
      );
    }
    return journal;
  }
  const there = readdirSync(output).filter(isShard);
  if (there.length > 0) {
    throw new DataError(`${output} holds other shards, for example ${there[0]}: choose another --output.`);
  }
  return { ...plan, next: 0, shards: [], skipped: [] };
}

/** Writes one shard. */
class ShardWriter {
  readonly #hash: Hash = createHash('sha256');
  readonly keys = new Set<string>();
  images = 0;
  bytes = 0;

  private constructor(
    readonly handle: FileHandle,
    readonly partial: string,
  ) {}

  static async begin(output: string): Promise<ShardWriter> {
    const partial = path.join(output, `.shard-${process.pid}.partial`);
    return new ShardWriter(await open(partial, 'w'), partial);
  }

  async write(parts: Buffer[]): Promise<void> {
    for (const part of parts) {
      this.#hash.update(part);
      this.bytes += part.length;
    }
    await this.handle.appendFile(Buffer.concat(parts));
  }

  /** Flushes the shard and gives it its name. */
  async finish(file: string): Promise<Journal['shards'][number]> {
    await this.write([END]);
    await this.handle.sync();
    await this.handle.close();
    await rename(this.partial, file);
    const { images, bytes } = this;
    return { file: path.basename(file), images, bytes, sha256: this.#hash.digest('hex') };
  }

  async abandon(): Promise<void> {
    await this.handle.close().catch(() => undefined);
    rmSync(this.partial, { force: true });
  }
}

const EXTENSIONS: Readonly<Record<ImageFormat, string>> = {
  ...{ JPEG: 'jpg', PNG: 'png', WebP: 'webp', AVIF: 'avif', TIFF: 'tif', GIF: 'gif', BMP: 'bmp', PNM: 'pnm' },
};

interface ListedName {
  name: string;
  /** Not made up here, so that readers of the shards must get it back. */
  isOwn: boolean;
}

/** The name of an image for its shard: it does not depend on where the list lies. */
function listedName(images: PackedImages, index: number, root: string): ListedName {
  const number = images.partOf(index);
  const part = images.parts[number]!;
  if (part.file === null)
    return { name: path.relative(root, images.name(index)).split(path.sep).join('/'), isOwn: true };
  if (part.parquet === undefined) return { name: images.name(index), isOwn: true };
  const row = index - images.firstOf(number);
  return { name: `${path.basename(part.file, path.extname(part.file))}-${row}`, isOwn: false };
}

/** An extension for the bytes of an image; null for others. */
function extensionFor(bytes: Uint8Array): string | null {
  const format = sniffFormat(bytes);
  return format === null ? null : EXTENSIONS[format];
}

/**
 * The tar members of an image. A key has no dots after its last slash, because WebDataset ends keys at the first one. If the
 * member's name differs from the image's for that reason, or because another image of the shard has the key, or because the
 * image isn't named like one, a .json has the name. Nor does a part of it begin with a dot: a list may name images in hidden
 * folders, but a reader of shards leaves hidden members out.
 */
function sampleMembers(
  { name, isOwn }: ListedName,
  label: number | null,
  bytes: Uint8Array,
  keys: Set<string>,
): Buffer[] | null {
  const safe = name
    .split('/')
    .filter((part) => part !== '' && part !== '..' && part !== '.')
    .join('/');
  // readers must take the member for an image
  const dot = hasImageExtension(safe) ? safe.lastIndexOf('.') : null;
  const extension = dot === null ? extensionFor(bytes) : safe.slice(dot + 1);
  if (extension === null) return null;
  const stem = safe.slice(0, dot ?? safe.length);
  const slash = stem.lastIndexOf('/') + 1;
  let plain = stem.slice(0, slash).replace(/(?<=^|\/)\./g, '_') + stem.slice(slash).replaceAll('.', '_');
  // a folder C: or ..\x is usual here, and leads out of an archive elsewhere
  if (badName(plain) !== null) plain = plain.replace(/[\\:]/g, '_');
  let key = plain;
  for (let n = 2; keys.has(key); n++) key = `${plain}~${n}`;
  keys.add(key);
  const member = (file: string, content: Uint8Array): Buffer[] => [
    tarHeader(file, content.length),
    Buffer.from(content.buffer, content.byteOffset, content.length),
    padding(content.length),
  ];
  const image = `${key}.${extension}`;
  const isOther = isOwn && image !== name && badName(name) === null;
  return [
    ...(label === null ? [] : member(`${key}.cls`, Buffer.from(String(label)))),
    ...(isOther ? member(`${key}.json`, Buffer.from(JSON.stringify({ [NAME_FIELD]: name }))) : []),
    ...member(image, bytes),
  ];
}

const bytesOf = (parts: readonly Buffer[]): number => parts.reduce((sum, part) => sum + part.length, 0);

const writeOptions = optionsOf<WriteShardsOptions>(
  { output: filePath },
  {
    shardSize: count(),
    shuffle: count(),
    signal: abortSignal,
    ...{ onImage: callback, onWait: callback },
    onProgress: callback,
    mayRead: callback,
  },
);

/**
 * Writes the images of a source into tar shards, their description (dino-shards.json) and their index.
 * @throws DataError when images can't be listed, or the folder can't be used or is in use; ConfigError when an option is out of range;
 *   the signal's reason when it is aborted, after which the same call continues
 */
export async function writeShards(
  source: string | ImageList,
  options: WriteShardsOptions,
): Promise<WriteShardsResult> {
  checkCall('writeShards()', ['source', imagesOrList, source], ['options', writeOptions, options]);
  const { output, shardSize = DEFAULT_SHARD_SIZE, signal } = options;
  if (!(Number.isSafeInteger(shardSize) && shardSize >= 10_000))
    throw new ConfigError(`shardSize is ${shardSize}; expected at least 10000 bytes`);
  const list =
    typeof source === 'string'
      ? await listImages(source, { onProgress: options.onProgress, mayRead: options.mayRead, signal })
      : source;
  const lock = await lockFolder(path.resolve(output), { signal, onWait: options.onWait });
  try {
    return await writeList(list, { ...options, shardSize });
  } finally {
    lock.release();
  }
}

/** Writes a list into a folder that this process holds. */
async function writeList(
  list: ImageList,
  options: WriteShardsOptions & { shardSize: number },
): Promise<WriteShardsResult> {
  const { output, shardSize, shuffle, signal } = options;
  const images = PackedImages.from(list.items);
  const plan = { fingerprint: list.fingerprint, shardSize, shuffle: shuffle ?? null };
  const journal = openJournal(output, plan);
  const resumed = journal.shards.length;
  const order = shuffle === undefined ? null : epochPermutation(images.length, shuffle, 0);
  const reader = new ImageReader(images);
  const readNext = async (at: number) => {
    const index = order?.[at] ?? at;
    try {
      return { index, bytes: await reader.read(index), reason: '' };
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      return { index, bytes: null, reason: error.message };
    }
  };
  const ahead: ReturnType<typeof readNext>[] = [];
  let asked = journal.next;
  let shard: ShardWriter | null = null;
  const finish = async (next: number) => {
    if (shard === null) return;
    if (shard.images === 0) return shard.abandon();
    const number = String(journal.shards.length).padStart(6, '0');
    journal.shards.push(await shard.finish(path.join(output, `shard-${number}.tar`)));
    journal.next = next;
    shard = null;
    writeFileWhole(path.join(output, JOURNAL), JSON.stringify(journal));
  };
  let skipped: Journal['skipped'] = [];
  try {
    for (let at = journal.next; at < images.length; at++) {
      signal?.throwIfAborted();
      while (asked < images.length && asked < at + AHEAD) ahead.push(readNext(asked++));
      const { index, bytes, reason } = await ahead.shift()!;
      const name = listedName(images, index, list.root);
      const label = images.label(index);
      shard ??= await ShardWriter.begin(output);
      let members = bytes === null ? null : sampleMembers(name, label, bytes, shard.keys);
      if (members === null) {
        skipped.push({
          path: images.path(index),
          reason: reason || 'is not an image, and is not named like one',
        });
      } else {
        if (shard.images > 0 && shard.bytes + bytesOf(members) + END.length > shardSize) {
          journal.skipped.push(...skipped);
          skipped = [];
          await finish(at);
          shard = await ShardWriter.begin(output);
          members = sampleMembers(name, label, bytes!, shard.keys)!;
        }
        await shard.write(members);
        shard.images++;
      }
      options.onImage?.({ done: at + 1, total: images.length, shards: journal.shards.length });
    }
    journal.skipped.push(...skipped);
    await finish(images.length);
  } catch (error) {
    await Promise.allSettled(ahead);
    await shard?.abandon();
    const { code, message } = error as NodeJS.ErrnoException;
    if (typeof code === 'string' && /^E[A-Z]+$/.test(code)) {
      throw new DataError(`${output} can't be written: ${message}`, { cause: error });
    }
    throw error;
  } finally {
    reader.close();
  }
  const written = journal.shards.reduce((sum, entry) => sum + entry.images, 0);
  if (written === 0)
    throw new DataError(
      `none of the ${images.length} images of ${list.root} can be read${firstSkipped(journal.skipped)}`,
    );
  const description: ShardsDescription = {
    version: 1,
    images: written,
    fingerprint: list.fingerprint,
    classes: list.classes,
    shards: journal.shards,
  };
  writeFileWhole(path.join(output, DESCRIPTION), `${JSON.stringify(description, null, 1)}\n`);
  rmSync(path.join(output, JOURNAL), { force: true });
  const files = journal.shards.map((entry) => path.resolve(output, entry.file));
  const listed = await listShards(files, path.resolve(output), path.resolve(output), options);
  if (listed.items.length !== written)
    throw new Error(
      `internal: ${written} images were written to ${output}, but ${listed.items.length} are read back: don't use these shards`,
    );
  return {
    ...{ output, images: written, shards: files, resumed },
    skipped: [...list.unreadable.map(skippedPlace), ...journal.skipped],
    ...notesOf(list),
    bytes: journal.shards.reduce((sum, entry) => sum + entry.bytes, 0),
    classes: list.classes?.length ?? null,
    ...{ index: listed.index, fingerprint: listed.fingerprint },
  };
}
