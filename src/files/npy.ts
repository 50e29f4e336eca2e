/**
 * NumPy's .npy files, format 1.0 (numpy/lib/format.py): arrays of little-endian float32 in row-major order.
 */

const MAGIC = '\x93NUMPY\x01\x00';

/** The bytes of a file. The header is padded so that the data begin at a multiple of 64. */
export function npyBytes(values: Float32Array, shape: readonly number[]): Buffer {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  let header = `{'descr': '<f4', 'fortran_order': False, 'shape': ${tuple}, }`;
  header += ' '.repeat(63 - ((10 + header.length) % 64)) + '\n';
  const prefix = Buffer.from(MAGIC + '  ' + header, 'latin1');
  prefix.writeUInt16LE(header.length, MAGIC.length);
  return Buffer.concat([prefix, Buffer.from(values.buffer, values.byteOffset, values.byteLength)]);
}

/** The array of a file; null when it is damaged, or holds another type or order. */
export function readNpy(bytes: Buffer): { shape: number[]; values: Float32Array } | null {
  if (bytes.length < 10 || bytes.toString('latin1', 0, 8) !== MAGIC) return null;
  const start = 10 + bytes.readUInt16LE(8);
  const header = bytes.toString('latin1', 10, start);
  const found = /'descr': '<f4', 'fortran_order': False, 'shape': \(([\d, ]*)\)/.exec(header);
  if (found === null) return null;
  const shape = found[1]!
    .split(',')
    .filter((part) => part.trim() !== '')
    .map(Number);
  const count = shape.reduce((product, size) => product * size, 1);
  if (bytes.length - start !== 4 * count) return null;
  return { shape, values: new Float32Array(Uint8Array.from(bytes.subarray(start)).buffer) };
}
