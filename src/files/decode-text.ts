/** Text files as editors and shells write them. */

/** Byte-order marks, and the encodings that they stand for. */
const MARKS = [
  { mark: [0xef, 0xbb, 0xbf], encoding: 'utf-8' },
  { mark: [0xff, 0xfe], encoding: 'utf-16le' },
  { mark: [0xfe, 0xff], encoding: 'utf-16be' },
] as const;

/** The text of a file: UTF-8, or what its byte-order mark says (PowerShell's `>` writes UTF-16). The mark is left out. */
export function decodeText(bytes: Uint8Array): string {
  const found = MARKS.find(({ mark }) => mark.every((byte, i) => bytes[i] === byte));
  return new TextDecoder(found?.encoding ?? 'utf-8').decode(bytes);
}
