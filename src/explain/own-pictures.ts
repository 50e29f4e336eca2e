/**
 * Which pictures in a folder are ours. The names of dino attention's pictures are plain (`overlay.png`), so that a folder
 * may have somebody's own of the same name; each of ours says `Software: dino-ts` right after its header, and only those
 * are replaced.
 */
import { lstatSync } from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { ConfigError, DataError } from '../errors.js';
import { namesIn, readStart } from '../files/guarded.js';
import { freeName } from '../files/new-places.js';
import { fewNames } from '../plain/few-names.js';
import { printable } from '../plain/printable.js';

/** A PNG's signature (8 bytes) and its header, the chunk IHDR (25), which is always first. */
const HEADER_BYTES = 33;
/** How many names a message has. */
const MOST_NAMED = 8;

/** A PNG chunk tEXt: length, type, keyword and text, checksum (PNG specification, 11.3.3.2). */
const MARK = ((): Buffer => {
  const body = Buffer.from('tEXtSoftware\0dino-ts', 'latin1');
  const mark = Buffer.alloc(body.length + 8);
  mark.writeUInt32BE(body.length - 4, 0);
  body.copy(mark, 4);
  mark.writeUInt32BE(crc32(body), body.length + 4);
  return mark;
})();

/** Names that our pictures have. */
export const DRAWN = /^(img|overlay|pca|attn-(mean|head\d+)|mask_th.*_head\d+)\.png$/;

/**
 * The names of attention's pictures, in the order in which they are drawn.
 * @param threshold - Of the masks; null without masks.
 */
export function attentionNames(heads: number, threshold: number | '' | null): string[] {
  const each = (name: (head: number) => string): string[] => Array.from({ length: heads }, (_, i) => name(i));
  return [
    'img.png',
    ...each((head) => `attn-head${head}.png`),
    ...['attn-mean.png', 'overlay.png'],
    ...(threshold === null ? [] : each((head) => `mask_th${threshold}_head${head}.png`)),
  ];
}

/** The same PNG, marked as ours. */
export const marked = (png: Buffer): Buffer =>
  Buffer.concat([png.subarray(0, HEADER_BYTES), MARK, png.subarray(HEADER_BYTES)]);

/** A regular file in a folder, and no link, that we drew. */
function isOurs(file: string): boolean {
  try {
    return readStart(file, MARK.length, { within: path.dirname(file), from: HEADER_BYTES }).equals(MARK);
  } catch (error) {
    if (error instanceof DataError) return false;
    throw error;
  }
}

/**
 * Checks that pictures replace none but ours.
 * @param folders - In each of which pictures of these names will be drawn; they can be examined.
 * @param given - What a person named, where that is a folder above them.
 * @throws ConfigError that names the others; it suggests a free folder.
 */
export function checkPictures(folders: readonly string[], names: readonly string[], given: string): void {
  const others = folders
    .flatMap((folder) => names.map((name) => path.join(folder, name)))
    .filter((file) => lstatSync(file, { throwIfNoEntry: false }) !== undefined && !isOurs(file));
  if (others.length === 0) return;
  throw new ConfigError(
    `pictures that were not drawn here are not replaced (${fewNames(others, MOST_NAMED)}): give another folder, ` +
      `${printable(freeName(given))} is not taken`,
  );
}

/** Our pictures in folders besides those just drawn: of an earlier call, with other masks or another model. */
export function earlierPictures(folders: readonly string[], drawn: readonly string[]): string[] {
  const now = new Set(drawn);
  return folders.flatMap((folder) =>
    namesIn(folder, { within: folder })
      .filter((name) => DRAWN.test(name))
      .map((name) => path.join(folder, name))
      .filter((file) => !now.has(file) && isOurs(file))
      .sort(),
  );
}

/** A line that names them. */
export const earlierNote = (earlier: readonly string[]): string =>
  `of an earlier call, not drawn anew: ${fewNames(earlier, MOST_NAMED)}`;
