/**
 * The transform of an index's features on disk: a safetensors file with `mean` (D) and, for `pca`, `matrix` (D, D), both
 * float32. Every feature of the index, and every query, goes through it before it is compared.
 */
import { createHash } from 'node:crypto';
import type { DataError } from '../errors.js';
import { MOST_WHITENED } from '../eval/fit-transform.js';
import { type FeatureTransform, NO_TRANSFORM } from '../plain/feature-transform.js';
import { writeWhole } from '../files/atomic-file.js';
import { filePrefix, readSafetensorsHeader } from '../weights/safetensors.js';
import { damaged, type IndexManifest, openIndexFile } from './index-format.js';

/** The most bytes before the numbers; usually two hundred. */
const MAX_PREFIX = 4096;

/** Writes a transform that is not `none`. @param within - The index folder. */
export function writeTransform(file: string, { mean, matrix }: FeatureTransform, within: string): void {
  const parts = [mean!, ...(matrix === null ? [] : [matrix])];
  const width = mean!.length;
  const header = new Map<string, unknown>([
    ['mean', { dtype: 'F32', shape: [width], data_offsets: [0, 4 * width] }],
  ]);
  if (matrix !== null)
    header.set('matrix', {
      ...{ dtype: 'F32', shape: [width, width] },
      data_offsets: [4 * width, 4 * (width + width * width)],
    });
  const fill = (write: (bytes: Uint8Array) => void): void => {
    write(filePrefix(header));
    for (const part of parts) write(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  };
  writeWhole(file, fill, { within });
}

/** @throws DataError when the file is missing, not what was written, or holds anything else. */
export function readTransform(folder: string, manifest: IndexManifest): FeatureTransform {
  const { width, whitening, files } = manifest;
  const { mode } = whitening;
  if (mode === 'none' || files.transform === null) return NO_TRANSFORM;
  using bytes = openIndexFile(folder, files.transform);
  const wrong = (what: string): DataError => damaged(bytes.file, what, folder);
  if (mode === 'pca' && width > MOST_WHITENED) throw wrong(`features of ${width} values are never whitened`);
  const expected = mode === 'pca' ? [`mean [${width}]`, `matrix [${width},${width}]`] : [`mean [${width}]`];
  const values = mode === 'pca' ? width + width * width : width;
  // before anything is read: the size fits the width in index.json, and the header is short
  const start = bytes.size - 4 * values;
  const isLong = start >= 8 && start <= MAX_PREFIX;
  if (!isLong || bytes.read(0, 8).readBigUInt64LE() !== BigInt(start - 8))
    throw wrong(`it does not hold ${expected.join(' and ')}`);
  const { entries } = readSafetensorsHeader(bytes);
  const found = entries.map(
    ({ name, dtype, shape }) => `${name} [${shape.join()}]${dtype === 'float32' ? '' : ` ${dtype}`}`,
  );
  if (found.sort().join() !== [...expected].sort().join())
    throw wrong(`it holds ${found.join(' and ')}, expected ${expected.join(' and ')}`);
  const whole = bytes.read(0, bytes.size);
  if (createHash('sha256').update(whole).digest('hex') !== files.transform.sha256)
    throw wrong('its checksum does not match');
  const at = (name: string, count: number): Float32Array => {
    const { begin } = entries.find((entry) => entry.name === name)!;
    const from = start + begin;
    return new Float32Array(whole.buffer.slice(from, from + 4 * count));
  };
  const mean = at('mean', width);
  const matrix = mode === 'pca' ? at('matrix', width * width) : null;
  if (![mean, matrix ?? []].every((part) => part.every(Number.isFinite)))
    throw wrong('it has values that are not finite');
  return { mode, mean, matrix };
}
