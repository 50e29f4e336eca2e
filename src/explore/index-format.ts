/**
 * The index folder: what `dino index` writes and everything else here reads.
 *
 *   index.json              what the index was made from and with; names the files below and their checksums
 *   images-<n>.jsonl        a line per image: id, path, bytes, mtime, label; in the order of the rows
 *   skipped-<n>.jsonl       images that could not be read, and why
 *   features-<n>.safetensors  `features` (N, D) float32, rows of length 1, as the network gives them
 *   transform-<n>.safetensors  how features are centred or whitened before they are compared (transform-file.ts)
 *   vectors-<n>.usearch     USearch's HNSW graph over the transformed rows in bfloat16; its keys are the images' ids
 *   map-<n>.safetensors     `positions` (N, 2) float32, once makeMap() has laid it out
 *   labels.jsonl            what people labelled (labels.ts); not one of the generations
 *   lock                    while a process writes
 *
 * <n> counts the writings. Each writing makes new files beside the old ones, flushes them, and then renames a new
 * index.json into place: that is the moment at which the index changes, and a process that dies earlier leaves the old
 * one intact. The old files are deleted afterwards.
 */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, fsyncSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { PRECISIONS } from '../plain/precisions.js';
import { shellPath } from '../plain/shell.js';
import { DataError } from '../errors.js';
import { sha256Of } from '../files/checksum.js';
import { FileBytes } from '../files/file-bytes.js';
import { openToWrite, readTextIfThere } from '../files/guarded.js';
import { splitLines } from '../files/json-lines.js';
import { TRANSFORM_MODES, WHITEN_CHOICES } from '../plain/feature-transform.js';
import { MAX_IDS } from './graph-file.js';

/** Version 1 had no transform: its features are compared as they are. */
export const INDEX_VERSION = 2;
/** Features that an index can be made of: one row per image. */
export const INDEX_FEATURES = ['cls', 'patch-mean'] as const;
export type IndexFeatures = (typeof INDEX_FEATURES)[number];

/** index.json has about 2 KB; long paths make it longer. */
const MANIFEST_BYTES = 2 ** 20;
/** The longest line of a list: a path of 16,384 characters, each written as six. */
const LINE_BYTES = 2 ** 17;
/** No network's features are longer. */
const MAX_WIDTH = 2 ** 14;
/** Larger images are not what an index is made of, and would fill the memory of a search. */
const MAX_SIDE = 4096;

/** A path as text: an impossible name is refused here, before the file system is asked. */
const pathSchema = z.string().regex(/^[^\0]*$/, 'a path has no zero bytes');

const fileSchema = z.object({
  name: z.string().regex(/^[a-z]+-\d+\.(jsonl|safetensors|usearch)$/),
  bytes: z.int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
export type IndexFile = z.infer<typeof fileSchema>;

const manifestSchema = z.object({
  format: z.literal('dino-index'),
  version: z.literal(INDEX_VERSION),
  /** Version of the package that wrote it. */
  package: z.string(),
  /** How often it was written. */
  generation: z.int().nonnegative().max(MAX_IDS),
  /** ISO 8601. */
  written: z.string(),
  images: z.object({
    /** The folder or list, absolute. */
    source: pathSchema,
    /** The folder that the images' paths are relative to, absolute. */
    root: pathSchema,
    count: z.int().positive().max(MAX_IDS),
    skipped: z.int().nonnegative(),
    /** The id of the next new image. */
    nextId: z.int().nonnegative().max(MAX_IDS),
  }),
  weights: z.object({
    /** As it was given, absolute. */
    given: pathSchema,
    /** The file that was read. */
    file: pathSchema,
    sha256: z.string(),
    checkpointKey: z.string(),
    /** Attention heads, where the caller gave them. */
    numHeads: z.int().positive().nullable(),
    arch: z.string(),
  }),
  settings: z.object({
    features: z.enum(INDEX_FEATURES),
    resize: z.int().positive().max(MAX_SIDE),
    crop: z.int().positive().max(MAX_SIDE),
    /** Of the products that the features were computed with; missing in indexes of earlier versions. */
    precision: z.enum(PRECISIONS).optional(),
  }),
  width: z.int().positive().max(MAX_WIDTH),
  whitening: z.object({
    /** What was asked for. */
    asked: z.enum(WHITEN_CHOICES),
    /** What is done. */
    mode: z.enum(TRANSFORM_MODES),
    /** Why, in words; it is printed. */
    reason: z.string().regex(/^\P{Cc}{0,1000}$/u),
    /** Images that it was fitted to; 0 before it was fitted. */
    fittedTo: z.int().nonnegative().max(MAX_IDS),
    /** Images that were added, changed or removed since. */
    changed: z.int().nonnegative(),
  }),
  files: z.object({
    images: fileSchema,
    skipped: fileSchema,
    features: fileSchema,
    vectors: fileSchema,
    transform: fileSchema.nullable(),
    map: fileSchema.nullable(),
  }),
});
export type IndexManifest = z.infer<typeof manifestSchema>;

/**
 * Tells the writings of the indexes in a folder apart, also when one was deleted and made anew: its generations begin at 0 again.
 * @returns A whole number below 2^48.
 */
export const writingOf = ({ generation, written }: IndexManifest): number =>
  Number.parseInt(createHash('sha256').update(`${generation} ${written}`).digest('hex').slice(0, 12), 16);

/** The transform of an index that has none yet. */
export const unfitted = (asked: IndexManifest['whitening']['asked']): IndexManifest['whitening'] => ({
  ...{ asked, mode: 'none', reason: 'not fitted yet', fittedTo: 0, changed: 0 },
});

/** index.json of version 1 as one of this version. */
function upgraded(value: object): unknown {
  const { files } = value as { files?: unknown };
  if (typeof files !== 'object' || files === null) return value;
  return {
    ...{ ...value, version: INDEX_VERSION, files: { ...files, transform: null } },
    whitening: { ...unfitted('auto'), reason: 'made before features were whitened' },
  };
}

const imageSchema = z.object({
  id: z.int().nonnegative().lt(MAX_IDS),
  path: pathSchema.min(1),
  bytes: z.number(),
  mtime: z.number(),
  label: z.string().nullable(),
});
/** One image of an index; `path` is relative to the root, with `/`. */
export type IndexedImage = z.infer<typeof imageSchema>;

/** The name of an image below a root. */
export const nameBelow = (root: string, file: string): string =>
  path.relative(root, file).split(path.sep).join('/') || '.';

export const manifestPath = (folder: string): string => path.join(folder, 'index.json');

/** What to do about an index that can't be used. */
export const remake = (folder: string): string =>
  `Delete ${folder} and make it again with: dino index WEIGHTS IMAGES --output ${shellPath(folder)}`;

/** index.json as it is; null when there is none. @throws DataError for a link, or a file that is too large. */
export const readManifestText = (folder: string): string | null =>
  readTextIfThere(manifestPath(folder), { within: folder, maxBytes: MANIFEST_BYTES });

/** @throws DataError when the folder is not an index, or index.json is damaged, a link, or of another version. */
export function readManifest(folder: string): IndexManifest {
  const file = manifestPath(folder);
  const text = readManifestText(folder);
  if (text === null) {
    const what = existsSync(folder) ? 'is not an index (it has no index.json)' : 'does not exist';
    throw new DataError(
      `${folder} ${what}. Make one with: dino index WEIGHTS IMAGES --output ${shellPath(folder)}`,
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new DataError(`${file} is damaged: ${(error as Error).message}. ${remake(folder)}`, {
      cause: error,
    });
  }
  const { format, version } = (value ?? {}) as { format?: unknown; version?: unknown };
  if (format === 'dino-index' && version !== 1 && version !== INDEX_VERSION) {
    throw new DataError(
      `${file} is of version ${String(version)}; this dino reads 1 and ${INDEX_VERSION}. ${remake(folder)}`,
    );
  }
  const parsed = manifestSchema.safeParse(version === 1 ? upgraded(value as object) : value);
  if (!parsed.success)
    throw new DataError(`${file} is damaged:\n${z.prettifyError(parsed.error)}\n${remake(folder)}`);
  return parsed.data;
}

/** Flushes a file that was written, and describes it for index.json. */
export function sealFile(folder: string, name: string): IndexFile {
  const file = path.join(folder, name);
  const fd = openToWrite(file, { within: folder });
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  using bytes = new FileBytes(file, folder);
  return { name, bytes: bytes.size, sha256: sha256Of(bytes) };
}

/** The error for a file that is not what was written. */
export const damaged = (place: string, what: string, folder: string): DataError =>
  new DataError(`${place} is damaged: ${what}. ${remake(folder)}`);

/**
 * Opens a file that index.json names. Close it.
 * @throws DataError when it is missing, not a regular file, or its size is not what was written.
 */
export function openIndexFile(folder: string, file: IndexFile): FileBytes {
  const place = path.join(folder, file.name);
  let bytes: FileBytes;
  try {
    bytes = new FileBytes(place, folder);
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
    const what =
      code === 'ENOENT' ? `${place} is missing` : `${place} is damaged: ${(error as Error).message}`;
    throw new DataError(`${what}. ${remake(folder)}`, { cause: error });
  }
  if (bytes.size === file.bytes) return bytes;
  bytes.close();
  throw damaged(place, `${bytes.size} bytes, ${file.bytes} were written`, folder);
}

/**
 * The place of a file that index.json names, whose size and checksum are as written.
 * @throws DataError when it is missing or not what was written.
 */
export function checkedFile(folder: string, file: IndexFile): string {
  using bytes = openIndexFile(folder, file);
  checkSum(folder, file, bytes);
  return bytes.file;
}

/** @throws DataError when an open file's checksum is not what was written. */
function checkSum(folder: string, file: IndexFile, bytes: FileBytes): void {
  if (sha256Of(bytes) !== file.sha256) throw damaged(bytes.file, 'its checksum does not match', folder);
}

/**
 * The lines of a .jsonl file of the index, read and checked one by one, so that reading stops at the first wrong line
 * of a file that is not what index.json says.
 *
 * @param count - How many there must be.
 */
function readLines<T>(folder: string, file: IndexFile, count: number, schema: z.ZodType<T>): T[] {
  using bytes = openIndexFile(folder, file);
  const wrong = (what: string): DataError => damaged(bytes.file, what, folder);
  const found: T[] = [];
  let value: unknown;
  for (const { text: line } of splitLines(bytes.pieces(), bytes.file, LINE_BYTES)) {
    if (found.length === count) throw wrong(`it has more lines than the ${count} of index.json`);
    try {
      value = JSON.parse(line);
    } catch (error) {
      throw wrong(`line ${found.length + 1}: ${(error as Error).message}`);
    }
    const parsed = schema.safeParse(value);
    if (!parsed.success) throw wrong(`line ${found.length + 1}: ${z.prettifyError(parsed.error)}`);
    found.push(parsed.data);
  }
  if (found.length !== count) throw wrong(`it has ${found.length} lines, index.json says ${count}`);
  checkSum(folder, file, bytes);
  return found;
}

/** @throws DataError when the list is damaged or doesn't fit index.json. */
export function readIndexedImages(folder: string, manifest: IndexManifest): IndexedImage[] {
  const { count, nextId } = manifest.images;
  const images = readLines(folder, manifest.files.images, count, imageSchema);
  if (!images.every(({ id }, row) => id < nextId && (row === 0 || id > images[row - 1]!.id)))
    throw damaged(path.join(folder, manifest.files.images.name), 'its ids are out of order', folder);
  return images;
}

/** The start of a list's part, in which some whole lines are. */
const SAMPLE_BYTES = 2 ** 14;

/**
 * Paths of some images, spread through an index, without reading all of its list or opening the index.
 * @throws DataError when the list is missing or not as long as was written.
 */
export function sampleIndexedImages(folder: string, manifest: IndexManifest, most: number): string[] {
  using bytes = openIndexFile(folder, manifest.files.images);
  const found = new Set<string>();
  for (let i = 0; i < most; i++) {
    const start = Math.floor((i * bytes.size) / most);
    const text = bytes.read(start, Math.min(SAMPLE_BYTES, bytes.size - start)).toString('utf8');
    // unless at the front, the first line is the end of one
    const line = text.split('\n')[start === 0 ? 0 : 1] ?? '';
    try {
      const parsed = imageSchema.safeParse(JSON.parse(line));
      if (parsed.success) found.add(parsed.data.path);
    } catch {
      // a line that is longer, or damaged: opening the index says so
    }
  }
  return [...found];
}

const skippedSchema = z.object({ path: z.string(), reason: z.string() });

/** Images that could not be read when the index was made. @throws DataError as readIndexedImages(). */
export function readSkippedImages(
  folder: string,
  manifest: IndexManifest,
): { path: string; reason: string }[] {
  return readLines(folder, manifest.files.skipped, manifest.images.skipped, skippedSchema);
}
