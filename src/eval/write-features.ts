/**
 * Writes features to a file:
 *   .safetensors  `features` (N, ...) float32 and, with class folders, `labels` (N) int64; the paths and the classes are
 *                 JSON in the metadata
 *   .npy          the array alone (format 1.0), and beside it FILE.paths.jsonl with a line per image
 *   .parquet      a row per image: path, label, features as a list of floats
 * Features that were centred or whitened have NAME.mean.npy (D) beside them, and whitened ones NAME.matrix.npy (D, D): with
 * x scaled to length 1, they are (x - mean) @ matrix.T, scaled to length 1. Each file is written to a temporary file and renamed;
 * what earlier features of this name had beside them, and these don't have, is removed. What lies there and isn't known to be
 * theirs is never touched: that is an error.
 */
import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { checkCall, filePath, instanceOf, words } from '../plain/check-options.js';
import { writeFileWhole } from '../files/atomic-file.js';
import { ConfigError, DataError } from '../errors.js';
import { writeLines } from '../files/json-lines.js';
import { npyBytes } from '../files/npy.js';
import { checkNotInput, freeName } from '../files/new-places.js';
import { assertWritable, makeFolderOf } from '../files/output.js';
import { systemReason } from '../files/system-reason.js';
import { printable } from '../plain/printable.js';
import { fromTypedArray, type Tensor } from '../torch/index.js';
import { writeSafetensors } from '../weights/safetensors.js';
import type { FeatureTransform } from '../plain/feature-transform.js';
import type { Embeddings } from './embed.js';
import { type WhitenedEmbeddings, whitening } from './whiten-embeddings.js';

export const FEATURE_FORMATS = ['.safetensors', '.npy', '.parquet'] as const;

/** @throws ConfigError for any other ending. */
export function featureFormat(file: string): (typeof FEATURE_FORMATS)[number] {
  const format = FEATURE_FORMATS.find((known) => known === path.extname(file));
  if (format === undefined)
    throw new ConfigError(`${file}: expected a name that ends in ${FEATURE_FORMATS.join(', ')}`);
  return format;
}

/** The file of names beside a .npy. */
const pathsFile = (file: string): string => `${file.slice(0, -'.npy'.length)}.paths.jsonl`;

/** The files of a transform beside a file of features. */
const transformFile = (file: string, part: 'mean' | 'matrix'): string =>
  `${file.slice(0, -path.extname(file).length)}.${part}.npy`;

/** What may be written beside a file of features. */
const filesBeside = (file: string): string[] => [
  ...(['mean', 'matrix'] as const).map((part) => transformFile(file, part)),
  ...(featureFormat(file) === '.npy' ? [pathsFile(file)] : []),
];

/** What earlier features of this name have beside them: it is replaced with them, or removed. */
export const writtenBeside = (file: string): string[] => filesBeside(file).filter((one) => existsSync(one));

/** @throws ConfigError when something beside the file is not, or may not be, of features of this name. */
function checkBeside(file: string): void {
  const format = featureFormat(file);
  const stem = file.slice(0, -format.length);
  const others = FEATURE_FORMATS.filter((other) => other !== format)
    .map((other) => `${stem}${other}`)
    .filter((other) => existsSync(other));
  for (const one of writtenBeside(file)) {
    // only a .npy has a file of names
    const [owner] = one === pathsFile(file) ? [] : others;
    if (existsSync(file) && owner === undefined) continue;
    throw new ConfigError(
      `${printable(one)} is there, and ` +
        (owner === undefined
          ? `${printable(file)}, to which it would belong, is not`
          : `may belong to ${printable(owner)}`) +
        `: it is left as it is. Move it away, or give another name: ${printable(freeName(file))} is not taken`,
    );
  }
}

/**
 * Checks that a file of features, and those beside it, can be written, before they are computed.
 * @param inputs - Files that the features are made from.
 * @throws ConfigError for any other ending, one of the inputs, or other files beside it that these would replace; DataError when
 *   they can't be written.
 */
export function assertFeaturesWritable(file: string, inputs: readonly string[] = []): void {
  for (const one of [file, ...filesBeside(file)]) {
    assertWritable(one);
    checkNotInput(one, inputs);
  }
  checkBeside(file);
}

/**
 * Removes what tells of earlier features under this name. It goes before they are replaced: new features beside an old matrix
 * would pass for whitened with it.
 */
function removeBeside(file: string): void {
  try {
    for (const place of filesBeside(file)) rmSync(place, { force: true });
  } catch (error) {
    throw new DataError(`${file} can't be written: ${systemReason(error, file)}`, { cause: error });
  }
}

/** @returns The files written. */
function writeTransform(file: string, { mean, matrix }: FeatureTransform): string[] {
  const files: string[] = [];
  const write = (part: 'mean' | 'matrix', values: Float32Array, shape: number[]): void => {
    const place = transformFile(file, part);
    writeFileWhole(place, npyBytes(values, shape));
    files.push(place);
  };
  if (mean !== null) write('mean', mean, [mean.length]);
  if (mean !== null && matrix !== null) write('matrix', matrix, [mean.length, mean.length]);
  return files;
}

function asSafetensors(file: string, result: Embeddings): void {
  const count = result.paths.length;
  const tensors: Record<string, Tensor> = { features: fromTypedArray(result.features, result.shape) };
  const metadata: Record<string, string> = { paths: JSON.stringify(result.paths) };
  if (result.classes !== null) {
    const labels = BigInt64Array.from(result.labels, (label) => BigInt(label ?? -1));
    tensors['labels'] = fromTypedArray(labels, [count]);
    metadata['classes'] = JSON.stringify(result.classes);
  }
  try {
    writeSafetensors(file, tensors, metadata);
  } finally {
    for (const tensor of Object.values(tensors)) tensor.dispose();
  }
}

async function asParquet(file: string, result: Embeddings): Promise<void> {
  const { parquetWriteBuffer } = await import('hyparquet-writer');
  const count = result.paths.length;
  const rowSize = result.features.length / count;
  const rows = Array.from({ length: count }, (_, i) =>
    Array.from(result.features.subarray(i * rowSize, (i + 1) * rowSize)),
  );
  const labels =
    result.classes === null ? [] : [{ name: 'label', data: result.labels.map((label) => label ?? -1) }];
  const buffer = parquetWriteBuffer({
    schema: [
      { name: 'root', num_children: 2 + labels.length },
      { name: 'path', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'REQUIRED' },
      ...labels.map(({ name }) => ({ name, type: 'INT32' as const, repetition_type: 'REQUIRED' as const })),
      { name: 'features', converted_type: 'LIST', repetition_type: 'REQUIRED', num_children: 1 },
      { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
      { name: 'element', type: 'FLOAT', repetition_type: 'REQUIRED' },
    ],
    columnData: [{ name: 'path', data: result.paths }, ...labels, { name: 'features', data: rows }],
    statistics: false,
    kvMetadata: [
      { key: 'shape', value: JSON.stringify(result.shape) },
      ...(result.classes === null ? [] : [{ key: 'classes', value: JSON.stringify(result.classes) }]),
    ],
  });
  writeFileWhole(file, new Uint8Array(buffer));
}

/** The parts of embed()'s result that are written. */
const embeddings = z.looseObject({
  paths: words,
  labels: z.array(z.int().nullable()),
  features: instanceOf(Float32Array, 'a Float32Array'),
  shape: z.array(z.int().min(0)),
  classes: words.nullable(),
  whitening: whitening.optional(),
});

/**
 * Writes the format of the file's ending, and makes its folder; of whitenEmbeddings()'s result, also the transform. Returns
 * the files written.
 * @throws ConfigError for any other ending, or other files beside it that these would replace; DataError or CheckpointError when
 *   it can't be written.
 */
export async function writeFeatures(
  file: string,
  result: Embeddings | WhitenedEmbeddings,
): Promise<string[]> {
  checkCall('writeFeatures()', ['file', filePath, file], ['result', embeddings, result]);
  const files = await writeRows(file, result);
  return 'whitening' in result ? [...files, ...writeTransform(file, result.whitening)] : files;
}

async function writeRows(file: string, result: Embeddings): Promise<string[]> {
  const format = featureFormat(file);
  makeFolderOf(file);
  checkBeside(file);
  removeBeside(file);
  if (format === '.safetensors') {
    asSafetensors(file, result);
    return [file];
  }
  if (format === '.parquet') {
    await asParquet(file, result);
    return [file];
  }
  writeFileWhole(file, npyBytes(result.features, result.shape));
  const beside = pathsFile(file);
  const lines = result.paths.map((name, i) => {
    const label = result.labels[i];
    const className = result.classes?.[label ?? -1];
    return className === undefined ? { path: name } : { path: name, label, class: className };
  });
  writeLines(beside, lines);
  return [file, beside];
}
