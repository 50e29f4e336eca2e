/**
 * Identifies a file that was given as weights by its first bytes, so that an error can say what it is: a Git LFS pointer, a
 * page saved by a failed download, another library's format.
 */
import { closeSync, readSync, statSync } from 'node:fs';
import path from 'node:path';
import { CheckpointError } from '../errors.js';
import { openToRead } from '../files/guarded.js';
import { messageOf, printable } from '../plain/printable.js';
import { show } from './pickle-values.js';

/** whatItIs() of an unknown file. */
export const UNKNOWN = 'in an unknown format';

/** How many bytes are looked at. */
const START_BYTES = 4096;
/** The longest header of a safetensors file that the reference implementation accepts. */
const MAX_SAFETENSORS_HEADER = 100_000_000;

export interface FileStart {
  /** The first bytes, a few thousand at most. */
  start: Uint8Array;
  /** Bytes of the whole file. */
  size: number;
  /** Its name, for formats without a signature. */
  file: string;
}

/**
 * Reads the beginning of a file.
 * @param within - A run folder: below it no link is followed.
 * @throws CheckpointError when it can't be read or is not a regular file.
 */
export function startOf(file: string, within?: string): FileStart {
  const { fd, size } = openToRead(file, { within, maxBytes: Infinity, failure: CheckpointError });
  try {
    const start = Buffer.alloc(Math.min(START_BYTES, size));
    const count = readSync(fd, start, 0, start.length, 0);
    return { start: start.subarray(0, count), size, file };
  } catch (error) {
    throw new CheckpointError(`${printable(file)} can't be read: ${messageOf(error)}`, { cause: error });
  } finally {
    closeSync(fd);
  }
}

/** Whether it begins like a safetensors file: a plausible header length, then the header's brace. */
export function isSafetensors({ start, size }: FileStart): boolean {
  if (start.length < 9 || start[8] !== 0x7b) return false;
  const length = Buffer.from(start.subarray(0, 8)).readBigUInt64LE();
  return length >= 2n && length <= BigInt(Math.min(MAX_SAFETENSORS_HEADER, size - 8));
}

const megabytes = (bytes: number): string =>
  bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${Math.round(bytes / 1e6)} MB`;

/** First bytes, and what begins with them. */
const MARKS: readonly (readonly [start: string, what: string])[] = [
  [
    '\x89HDF\r\n\x1a\n',
    'an HDF5 file, as Keras and TensorFlow write (.h5): only their own libraries read its weights',
  ],
  ['\x1f\x8b', 'compressed by gzip: unpack it first (gunzip, or tar xzf)'],
  ['BZh', 'compressed by bzip2: unpack it first (bunzip2, or tar xjf)'],
  ['\xfd7zXZ\0', 'compressed by xz: unpack it first (unxz, or tar xJf)'],
  ['\x28\xb5\x2f\xfd', 'compressed by zstd: unpack it first (unzstd)'],
  ['7z\xbc\xaf\x27\x1c', 'a 7z archive: unpack it first'],
  ['Rar!', 'a RAR archive: unpack it first'],
  ['\x93NUMPY', "NumPy's array (.npy), which has no names of parameters"],
  ['PAR1', 'a Parquet file: features or images, not weights'],
  ['GGUF', 'a GGUF file (llama.cpp)'],
  ['\x89PNG', 'a PNG image'],
  ['\xff\xd8\xff', 'a JPEG image'],
  ['%PDF', 'a PDF'],
  ['PK\x05\x06', 'an empty zip file'],
];

/**
 * What a file is, as the end of a sentence that begins with "it is".
 * @param given - Its beginning, or the names of a zip file's entries.
 */
export function whatItIs(given: FileStart | { zip: readonly string[] }): string {
  if ('zip' in given) return zipOf(given.zip);
  const { start, size, file } = given;
  if (size === 0) return 'empty (0 bytes): a download that failed, or a disk that was full';
  const text = Buffer.from(start.buffer, start.byteOffset, start.byteLength).toString('latin1');
  const pointer = /^version https:\/\/git-lfs\.github\.com\/spec\/[^]*?^size (\d{1,15})$/m.exec(text);
  if (pointer !== null)
    return `a Git LFS pointer of ${megabytes(Number(pointer[1]))}, which only names the weights: run git lfs pull`;
  const readable = text.replace(/^\xef\xbb\xbf/, '').trimStart();
  if (/^<(!doctype html|html|head|body|!--)/i.test(readable))
    return 'an HTML page, as left by a failed download: open it in a browser to see what it says, and download it again';
  if (/^<(\?xml|error)/i.test(readable))
    return 'XML, as a storage server sends when it refuses a download: read it, and download the file again';
  const mark = MARKS.find(([begin]) => text.startsWith(begin));
  if (mark !== undefined) return mark[1];
  if (isSafetensors(given)) return 'a safetensors file';
  if (text.slice(257, 262) === 'ustar') return 'a tar archive: unpack it first (tar xf)';
  if (text.slice(4, 8) === 'TFL3') return 'a TensorFlow Lite model';
  return byNameOrKind(text, readable, path.basename(file));
}

function byNameOrKind(text: string, readable: string, name: string): string {
  if (/\.onnx$/i.test(name)) return 'an ONNX file: these are written (dino export --format onnx), not read';
  if (/\.msgpack$/i.test(name) || isMessagePack(text))
    return 'a msgpack file, as Flax writes: load it in Python and save its weights by torch.save or safetensors';
  if (/\.(index|meta|pb)$|\.data-\d+-of-\d+$/.test(name)) return 'a part of a TensorFlow model';
  if (readable.startsWith('{') || readable.startsWith('[')) return 'JSON text';
  if (text[0] === '\x80' && text.charCodeAt(1) >= 2 && text.charCodeAt(1) <= 5)
    return 'a pickle that torch.save did not write (pickle.dump or joblib): load it in Python and save its state_dict by torch.save';
  if (/^[\t\n\r\x20-\x7e]+$/.test(text.slice(0, 200))) return 'text'; // not quoted: it may be a secret
  return UNKNOWN;
}

/** A map whose first key is text, as flax.serialization.to_bytes() writes. */
function isMessagePack(text: string): boolean {
  const [kind = 0, ...rest] = Buffer.from(text.slice(0, 64), 'latin1');
  const skip = kind >= 0x80 && kind <= 0x8f ? 0 : kind === 0xde ? 2 : kind === 0xdf ? 4 : null;
  if (skip === null) return false;
  const at = rest[skip] ?? 0;
  const [begin, length] = at >= 0xa0 && at <= 0xbf ? [skip + 1, at - 0xa0] : [skip + 2, rest[skip + 1] ?? 0];
  if (!(at >= 0xa0 && at <= 0xbf) && at !== 0xd9) return false;
  const key = rest.slice(begin, begin + Math.min(length, 40));
  return length > 0 && key.length > 0 && key.every((byte) => byte >= 0x20 && byte < 0x7f);
}

function zipOf(names: readonly string[]): string {
  if (names.length === 0) return 'an empty zip file';
  if (names.every((name) => name.endsWith('.npy')))
    return "NumPy's archive (.npz): load it in Python and save its arrays by torch.save or safetensors";
  if (names.some((name) => name.endsWith('.weights.h5'))) return 'a Keras model (.keras)';
  if (names.some((name) => /(^|\/)serialized_exported_program\.json$|(^|\/)archive_format$/.test(name)))
    return 'a program saved by torch.export: save the state_dict of its model';
  const inside = names.find((name) => /\.(pth|pt|bin|ckpt|safetensors)$/i.test(name));
  if (inside !== undefined) return `a zip file with ${show(inside)} in it: unpack it first`;
  const some = names.slice(0, 3).map(show).join(', ');
  return `a zip file with something else in it (${some}${names.length > 3 ? ', ...' : ''})`;
}

/** Identifies a folder without weights that can be read; null when it is unknown. */
export function whatFolderIs(names: readonly string[], folder: string): string | null {
  const has = (pattern: RegExp): string | undefined => names.find((name) => pattern.test(name));
  const pointer = (name: string): string => path.join(folder, name);
  const distributed = has(/\.distcp$/);
  if (distributed !== undefined)
    return 'a distributed checkpoint of PyTorch (.distcp): python -m torch.distributed.checkpoint.format_utils dcp_to_torch turns it into a .pth';
  if (has(/^snapshots$/) !== undefined && has(/^(refs|blobs)$/) !== undefined)
    return `a folder of Hugging Face's cache: give the folder of a revision in ${pointer('snapshots')}`;
  const other = has(/^(flax_model\.msgpack|tf_model\.h5|.*\.h5|saved_model\.pb|.*\.keras)$/);
  if (other !== undefined)
    return `a folder with the weights of another library (${show(other)}); model.safetensors or pytorch_model.bin is needed`;
  const weights = names.filter(
    (name) =>
      /\.(safetensors|pth|pt|ckpt|bin|pth\.tar)$/i.test(name) &&
      statSync(pointer(name), { throwIfNoEntry: false })?.isFile() === true,
  );
  if (weights.length === 0) return null;
  return `a folder with ${weights.slice(0, 5).map(show).join(', ')}${weights.length > 5 ? ', ...' : ''}: give the file`;
}
