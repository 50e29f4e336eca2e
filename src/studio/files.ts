/**
 * The files that the studio may read: those under the folders it was given, also after all symbolic links are followed.
 * Code that reads a file named by a request asks here first, and opens the path that it gets back.
 */
import { realpathSync, statSync } from 'node:fs';
import { lstat, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { DataError } from '../errors.js';
import { isBelow } from '../files/read-below.js';
import { locateWeights, weightsOutside } from '../weights/locate.js';
import { partsOfWeights } from '../weights/sharded.js';

/** A failure, with its HTTP status. */
export class StudioError extends Error {
  constructor(
    readonly status: 400 | 403 | 404 | 409 | 413 | 415 | 422,
    message: string,
    readonly code = 'STUDIO',
  ) {
    super(message);
  }
}

export class GivenFolders {
  /** Absolute, as they were given. */
  readonly roots: readonly string[];
  /** Absolute, links followed. */
  readonly real: readonly string[];

  /** @throws DataError when one of them is not a folder. */
  constructor(folders: readonly string[]) {
    this.roots = [...new Set(folders.map((folder) => path.resolve(folder)))];
    const problems = this.roots.filter((root) => !statSync(root, { throwIfNoEntry: false })?.isDirectory());
    if (problems.length > 0) {
      throw new DataError(
        `dino studio shows folders, and ${problems.join(', ')} ${problems.length === 1 ? 'is not one' : 'are not folders'}. ` +
          'Give a run folder, a folder of runs, or a folder of images.',
      );
    }
    this.real = this.roots.map((root) => realpathSync(root));
  }

  /** Whether a path with all links followed lies under a given folder. */
  holds(real: string): boolean {
    return this.real.some((root) => isBelow(root, real));
  }

  readonly #mayRead = (real: string): boolean => this.holds(real);

  /** Whether a file or folder is there and, its links followed, under a given folder. */
  async reaches(place: string): Promise<boolean> {
    try {
      return this.holds(await realpath(place));
    } catch {
      return false;
    }
  }

  /**
   * The real path of what a request names: absolute, or relative to the first given folder.
   * @throws StudioError: 403 outside the given folders (also when a link leads there), 404 when there is nothing.
   */
  async resolve(name: string): Promise<string> {
    const wanted = this.#absolute(name);
    let real: string;
    try {
      real = await realpath(wanted);
    } catch {
      // what lies outside is refused whether it exists or not: the answer must not tell
      if (!(await this.#mayBe(wanted))) throw this.#outside(name);
      throw new StudioError(404, `${name} does not exist.`, 'GONE');
    }
    if (!this.holds(real)) throw this.#outside(name);
    return real;
  }

  /** @throws StudioError as resolve(), and when it is not a file. */
  async file(name: string): Promise<string> {
    const real = await this.resolve(name);
    if (!(await stat(real)).isFile()) throw new StudioError(400, `${name} is not a file.`);
    return real;
  }

  /** @throws StudioError as resolve(), and when it is not a folder. */
  async folder(name: string): Promise<string> {
    const real = await this.resolve(name);
    if (!(await stat(real)).isDirectory()) throw new StudioError(400, `${name} is not a folder.`);
    return real;
  }

  /**
   * The file of weights that a run, a checkpoint or a file stands for.
   * @throws StudioError as resolve(), also for what a link in a folder leads to; CheckpointError when there are none.
   */
  async weights(name: string, checkpointKey?: string): Promise<string> {
    const real = await this.resolve(name);
    const outside = weightsOutside(real, this.#mayRead);
    if (outside !== null) throw this.#outside(outside);
    return this.weightsFile(locateWeights(real, checkpointKey, this.#mayRead).file);
  }

  /**
   * A file of weights; if it is an index of several, those lie under the given folders too.
   * @throws StudioError as resolve(); CheckpointError for a damaged index.
   */
  async weightsFile(name: string): Promise<string> {
    const real = await this.file(name); // before any of it is read
    for (const part of partsOfWeights(name)) await this.file(part);
    return real;
  }

  /**
   * The path of something that is to be made: its nearest folder that exists must lie under a given one.
   * @throws StudioError 403 outside.
   */
  async forWriting(name: string): Promise<string> {
    const wanted = this.#absolute(name);
    const parts: string[] = [];
    for (let at = wanted; ; at = path.dirname(at)) {
      try {
        const real = await realpath(at);
        if (!this.holds(real)) throw this.#outside(name);
        return path.join(real, ...parts);
      } catch (error) {
        if (error instanceof StudioError || path.dirname(at) === at) throw this.#outside(name);
        // a link to nothing would be written through
        if (await isThere(at)) throw this.#outside(name);
        parts.unshift(path.basename(at));
      }
    }
  }

  #absolute(name: string): string {
    if (name.includes('\0')) throw new StudioError(400, 'A path cannot hold a zero byte.');
    return path.resolve(this.roots[0]!, name);
  }

  async #mayBe(wanted: string): Promise<boolean> {
    try {
      await this.forWriting(wanted);
      return true;
    } catch {
      return false;
    }
  }

  #outside(name: string): StudioError {
    return new StudioError(
      403,
      `${name} is not under the folders that this studio was given (${this.roots.join(', ')}). ` +
        'To see it, start the studio with its folder as well: dino studio FOLDER FOLDER.',
      'OUTSIDE',
    );
  }
}

const isThere = (file: string): Promise<boolean> =>
  lstat(file).then(
    () => true,
    () => false,
  );
