/**
 * The index folder: what `dino index` writes and everything else here reads.
 *
 *   index.json              what the index is made of and with; names the files below and their checksums
 *   images-<n>.jsonl        a line an image: id, path, bytes, mtime, label; in the order of the rows
 *   skipped-<n>.jsonl       images that could not be read, and why
 *   features-<n>.safetensors  `features` (N, D) float32, rows of length 1
 *   vectors-<n>.usearch     USearch's HNSW graph over the same rows in bfloat16; its keys are the images' ids
 *   map-<n>.safetensors     `positions` (N, 2) float32, once makeMap() has laid it out
 *   labels.jsonl            what people labelled (labels.ts); not one of the generations
 *   lock                    while a process writes
 *
 * <n> counts the writings. Each writing makes new files beside the old ones, flushes them, and then renames a new
 * index.json into place: that is the moment at which the index changes, and a process that dies before leaves the old one
 * whole. The old files are deleted afterwards.
 */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { DataError } from '../errors.js';

export const INDEX_VERSION = 1;
/** Features that an index is made of: one row an image. */
export const INDEX_FEATURES = ['cls', 'patch-mean'] as const;
export type IndexFeatures = (typeof INDEX_FEATURES)[number];

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
  generation: z.int().nonnegative(),
  /** ISO 8601. */
  written: z.string(),
  images: z.object({
    /** The folder or list, absolute. */
    source: z.string(),
    /** The folder that the images' paths are relative to, absolute. */
    root: z.string(),
    count: z.int().positive(),
    skipped: z.int().nonnegative(),
    /** The id of the next new image. */
    nextId: z.int().nonnegative(),
  }),
  weights: z.object({
    /** As it was given, absolute. */
    given: z.string(),
    /** The file that was read. */
    file: z.string(),
    sha256: z.string(),
    checkpointKey: z.string(),
    /** Attention heads, where the caller had to tell them. */
    numHeads: z.int().positive().nullable(),
    arch: z.string(),
  }),
  settings: z.object({
    features: z.enum(INDEX_FEATURES),
    resize: z.int().positive(),
    crop: z.int().positive(),
  }),
  width: z.int().positive(),
  files: z.object({
    images: fileSchema,
    skipped: fileSchema,
    features: fileSchema,
    vectors: fileSchema,
    map: fileSchema.nullable(),
  }),
});
export type IndexManifest = z.infer<typeof manifestSchema>;

const imageSchema = z.object({
  id: z.int().nonnegative(),
  path: z.string().min(1),
  bytes: z.number(),
  mtime: z.number(),
  label: z.string().nullable(),
});
/** One image of an index; `path` is relative to the root, with `/`. */
export type IndexedImage = z.infer<typeof imageSchema>;

export const manifestPath = (folder: string): string => path.join(folder, 'index.json');

/** What to do about an index that can't be used. */
export const remake = (folder: string): string =>
  `Delete ${folder} and make it again with dino index WEIGHTS IMAGES --output ${folder}.`;

/** @throws DataError when the folder holds no index, or index.json is damaged or of another version. */
export function readManifest(folder: string): IndexManifest {
  const file = manifestPath(folder);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTDIR')
      throw new DataError(`${file} can't be read: ${message}`, { cause: error });
    const what = existsSync(folder) ? 'holds no index (no index.json)' : 'does not exist';
    throw new DataError(`${folder} ${what}. Make one with dino index WEIGHTS IMAGES --output ${folder}.`, {
      cause: error,
    });
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
  if (format === 'dino-index' && version !== INDEX_VERSION) {
    throw new DataError(
      `${file} is of version ${String(version)}; this dino reads ${INDEX_VERSION}. ${remake(folder)}`,
    );
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success)
    throw new DataError(`${file} is damaged:\n${z.prettifyError(parsed.error)}\n${remake(folder)}`);
  return parsed.data;
}

/** SHA-256 of a file, read by pieces. */
export function sha256File(file: string): string {
  const hash = createHash('sha256');
  const piece = Buffer.alloc(2 ** 22);
  const fd = openSync(file, 'r');
  try {
    for (;;) {
      const count = readSync(fd, piece, 0, piece.length, null);
      if (count === 0) return hash.digest('hex');
      hash.update(piece.subarray(0, count));
    }
  } finally {
    closeSync(fd);
  }
}

/** SHA-256 of the files of some weights: of the one, or of the sums of several. */
export function sha256Files(files: readonly string[]): string {
  const sums = files.map(sha256File);
  return sums.length === 1 ? (sums[0] as string) : createHash('sha256').update(sums.join('\n')).digest('hex');
}

/** Flushes a file that was written, and describes it for index.json. */
export function sealFile(folder: string, name: string): IndexFile {
  const file = path.join(folder, name);
  const fd = openSync(file, 'r+');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  return { name, bytes: statSync(file).size, sha256: sha256File(file) };
}

/**
 * The place of a file that index.json names.
 *
 * @param whole - Compares its checksum too; without, only its size.
 * @throws DataError when it is missing or not what was written.
 */
export function checkedFile(folder: string, file: IndexFile, whole: boolean): string {
  const place = path.join(folder, file.name);
  const size = statSync(place, { throwIfNoEntry: false })?.size;
  if (size === undefined) throw new DataError(`${place} is missing. ${remake(folder)}`);
  if (size !== file.bytes)
    throw new DataError(`${place} is damaged: ${size} bytes, ${file.bytes} were written. ${remake(folder)}`);
  if (whole && sha256File(place) !== file.sha256)
    throw new DataError(`${place} is damaged: its checksum is another. ${remake(folder)}`);
  return place;
}

/** The lines of a .jsonl file of the index. */
function jsonLines(place: string, folder: string): unknown[] {
  return readFileSync(place, 'utf8')
    .split('\n')
    .flatMap((line, i) => {
      if (line === '') return [];
      try {
        return [JSON.parse(line) as unknown];
      } catch (error) {
        throw new DataError(
          `${place}, line ${i + 1}, is damaged: ${(error as Error).message}. ${remake(folder)}`,
          {
            cause: error,
          },
        );
      }
    });
}

/** @throws DataError when the list is damaged or doesn't fit index.json. */
export function readIndexedImages(folder: string, manifest: IndexManifest): IndexedImage[] {
  const place = checkedFile(folder, manifest.files.images, true);
  const images = jsonLines(place, folder).map((line, i) => {
    const parsed = imageSchema.safeParse(line);
    if (!parsed.success)
      throw new DataError(
        `${place}, line ${i + 1}, is damaged:\n${z.prettifyError(parsed.error)}\n${remake(folder)}`,
      );
    return parsed.data;
  });
  const { count, nextId } = manifest.images;
  const ordered = images.every(({ id }, row) => id < nextId && (row === 0 || id > images[row - 1]!.id));
  if (images.length !== count || !ordered) {
    throw new DataError(
      `${place} lists ${images.length} images${ordered ? '' : ' out of order'}, index.json ${count}. ${remake(folder)}`,
    );
  }
  return images;
}

/** Images that could not be read when the index was made. */
export function readSkippedImages(
  folder: string,
  manifest: IndexManifest,
): { path: string; reason: string }[] {
  const place = checkedFile(folder, manifest.files.skipped, true);
  const schema = z.object({ path: z.string(), reason: z.string() });
  return jsonLines(place, folder).map((line) => {
    const parsed = schema.safeParse(line);
    if (!parsed.success) throw new DataError(`${place} is damaged. ${remake(folder)}`);
    return parsed.data;
  });
}
