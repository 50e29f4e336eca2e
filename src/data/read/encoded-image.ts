/** An image as a caller may have it: a file, or a file's bytes. */
import { isArrayBuffer, isUint8Array } from 'node:util/types';

/** The bytes of an image file (JPEG, PNG, ...); a Buffer is a Uint8Array. */
export type ImageBytes = Uint8Array | ArrayBuffer;

/** A path, or the bytes of an image file. */
export type EncodedImage = string | ImageBytes;

/** Also recognizes those of another realm (a vm context, a test runner's). */
export const isImageBytes = (value: unknown): value is ImageBytes =>
  isUint8Array(value) || isArrayBuffer(value);

/** The same bytes as a Uint8Array, not copied. */
export const viewOf = (bytes: ImageBytes): Uint8Array =>
  isUint8Array(bytes) ? bytes : new Uint8Array(bytes);
