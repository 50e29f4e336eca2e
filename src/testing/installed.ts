/** The packages as npm would install them, from tarballs, in a folder of a user's, without a network. */
import { execFileSync, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { cachedCopyDirectory, machineName, packageRoot } from '../../scripts/find-libtorch.mjs';
import { type Packed, packMain, packPlatform } from '../../scripts/package.mjs';

/** Flags of `dino train` for a network and a training of a few seconds, on a folder of 60 images. */
export const SMALL_RUN: readonly string[] = [
  ...['--embed-dim', '32', '--depth', '2', '--num-heads', '2', '--head-hidden-dim', '32', '--out-dim', '32'],
  ...[
    '--batch-size',
    '20',
    '--local-crops-number',
    '2',
    '--device',
    'cpu',
    '--threads',
    '1',
    '--epochs',
    '1',
  ],
];

/** Unpacks a tarball as npm does. */
function unpack(file: string, folder: string): void {
  mkdirSync(folder, { recursive: true });
  execFileSync('tar', ['-xzf', file, '-C', folder, '--strip-components=1']);
}

/** The packages that a package needs, as this checkout has them. */
function linkDependencies(modules: string): void {
  const { dependencies } = JSON.parse(
    readFileSync(path.join(modules, 'dino-ts', 'package.json'), 'utf8'),
  ) as { dependencies: Record<string, string> };
  for (const name of Object.keys(dependencies)) {
    mkdirSync(path.dirname(path.join(modules, name)), { recursive: true });
    symlinkSync(path.join(packageRoot, 'node_modules', name), path.join(modules, name));
  }
}

interface RunOptions {
  env?: Record<string, string>;
  input?: string;
  /** Another Node than this one. */
  node?: string;
  /** Another user than this one. */
  as?: { uid?: number; gid?: number };
}

/** A folder in which dino-ts is installed. */
export class Installed {
  /** Where a program of the user's is. */
  readonly folder: string;
  readonly packed: { main: Packed; platform: Packed & { needs: Record<string, string> } };
  /** The environment: no compiler and no Python on PATH, an empty home folder. */
  readonly env: Record<string, string>;
  readonly platformFolder: string;
  readonly #home: string;

  constructor() {
    this.folder = mkdtempSync(path.join(os.tmpdir(), 'dino installed ü-'));
    const tarballs = path.join(this.folder, 'tarballs');
    this.packed = { main: packMain(tarballs), platform: packPlatform(tarballs) };
    const modules = path.join(this.folder, 'node_modules');
    unpack(this.packed.main.file, path.join(modules, 'dino-ts'));
    this.platformFolder = path.join(modules, '@dino-ts', machineName());
    unpack(this.packed.platform.file, this.platformFolder);
    linkDependencies(modules);
    this.#home = path.join(this.folder, 'home');
    const bin = path.join(this.folder, 'bin');
    for (const made of [this.#home, bin]) mkdirSync(made);
    symlinkSync(process.execPath, path.join(bin, 'node'));
    this.env = { PATH: bin, HOME: this.#home };
  }

  /** Puts a libtorch into the user's cache folder, as `dino setup` would have. @param root a folder with lib/ */
  fillCache(root: string): void {
    const folder = cachedCopyDirectory(this.env);
    mkdirSync(path.dirname(folder), { recursive: true });
    if (!existsSync(folder)) symlinkSync(path.dirname(root), folder);
  }

  /** Empties the user's cache folder. */
  emptyCache(): void {
    rmSync(path.join(this.#home, '.cache'), { recursive: true, force: true });
  }

  /** The names of everything in the user's home folder. */
  inHome(): string[] {
    return readdirSync(this.#home, { recursive: true }).map(String);
  }

  /** Runs Node in the user's folder. */
  node(
    args: readonly string[],
    { env = {}, input, node = process.execPath, as = {} }: RunOptions = {},
  ): SpawnSyncReturns<string> {
    return spawnSync(node, ['--no-warnings', ...args], {
      cwd: this.folder,
      encoding: 'utf8',
      env: { ...this.env, ...env },
      timeout: 300_000,
      ...as,
      ...(input === undefined ? {} : { input }),
    });
  }

  /** Runs the program that npm would have put on PATH. */
  dino(args: readonly string[], options: RunOptions = {}) {
    return this.node([path.join('node_modules', 'dino-ts', 'bin', 'dino.js'), ...args], options);
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}
