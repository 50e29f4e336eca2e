/** Names of files and folders that are made new: nothing that exists is replaced. */
import { lstatSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { ConfigError } from '../errors.js';

const isThere = (place: string): boolean => lstatSync(place, { throwIfNoEntry: false }) !== undefined;

/** A similar name that is not taken: `list-2.txt`. */
export function freeName(place: string): string {
  const { dir, name, ext } = path.parse(place);
  for (let number = 2; ; number++) {
    const other = path.join(dir, `${name}-${number}${ext}`);
    if (!isThere(other)) return other;
  }
}

/** The error for a name that something has; `given` is what a person named, where that is a folder above it. */
export const taken = (place: string, given = place): ConfigError =>
  new ConfigError(
    `${place} already exists, and nothing is replaced: give another name, ${freeName(given)} is not taken`,
  );

/** @throws ConfigError when something with this name exists; it suggests a free one. */
export function checkNewFile(file: string): void {
  if (isThere(file)) throw taken(file);
}

/**
 * @param given - What a person named, where that is a folder above it.
 * @throws ConfigError when it is not empty, or not a folder; it suggests a free name.
 */
export function checkPutFolder(folder: string, given = folder): void {
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isDirectory()) throw taken(folder, given);
  if (readdirSync(folder).length > 0) {
    throw new ConfigError(
      `${folder} is not empty: give a new folder, nothing in it is overwritten; ${freeName(given)} is not taken`,
    );
  }
}
