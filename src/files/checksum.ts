/** SHA-256 of files, read in pieces: none is too large for memory. */
import { createHash } from 'node:crypto';
import { FileBytes } from './file-bytes.js';

/** SHA-256 of an open file, in hexadecimal. @throws CheckpointError as FileBytes. */
export function sha256Of(bytes: FileBytes): string {
  const hash = createHash('sha256');
  for (const piece of bytes.pieces()) hash.update(piece);
  return hash.digest('hex');
}

/**
 * SHA-256 of a file, in hexadecimal.
 * @param within - A folder below which no link is followed.
 * @throws CheckpointError as FileBytes.
 */
export function sha256File(file: string, within?: string): string {
  using bytes = new FileBytes(file, within);
  return sha256Of(bytes);
}

/** SHA-256 of several files as one: of the only one, or of their checksums. @throws CheckpointError as FileBytes. */
export function sha256Files(files: readonly string[]): string {
  const sums = files.map((file) => sha256File(file));
  return sums.length === 1 ? (sums[0] as string) : createHash('sha256').update(sums.join('\n')).digest('hex');
}
