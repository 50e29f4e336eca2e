/** Names of files and folders that are made new, or at least replace nothing that is needed. */
import { lstatSync, readdirSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { ConfigError } from '../errors.js';
import { printable } from '../plain/printable.js';

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

/** A path with all links resolved; null when there is nothing. */
function realOf(place: string): string | null {
  try {
    return realpathSync.native(place);
  } catch {
    return null;
  }
}

/**
 * Checks that a result replaces nothing that it is made from: weights that took days, or a list.
 * @param inputs - Files and folders that are read; of a folder only itself counts.
 * @throws ConfigError when `output` is one of them, whatever links lead to it; it suggests a free name.
 */
export function checkNotInput(output: string, inputs: readonly string[]): void {
  const real = realOf(output);
  if (real === null || !inputs.some((input) => realOf(input) === real)) return;
  throw new ConfigError(
    `${printable(output)} is read here, and the result would replace it: give another name, ` +
      `${printable(freeName(output))} is not taken`,
  );
}
