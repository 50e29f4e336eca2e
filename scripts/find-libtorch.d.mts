/** An installation of libtorch on this machine. */
export interface Libtorch {
  /** Which place it came from; 'noted' for what an earlier search or build found. */
  source: 'LIBTORCH' | 'python' | 'own copy' | 'cache' | 'noted';
  root: string;
  lib: string;
  include: string;
  /** For example "2.15.0". */
  version: string;
  /** Whether it includes libtorch_cuda; a driver and the CUDA libraries are needed as well. */
  hasCuda: boolean;
}

/** A place that was tried; `problem` is null for the one that is used. */
export interface TriedPlace {
  source: string;
  path: string;
  problem: string | null;
}

/** What a search found: null without one; every place up to it. */
export interface Found {
  libtorch: Libtorch | null;
  tried: TriedPlace[];
}

type Environment = Record<string, string | undefined>;

export const TORCH_VERSION: string;
export const packageRoot: string;
export const ownCopyDirectory: string;
export const linkedFile: string;
export function machineName(platform?: string, arch?: string): string;
/** @throws SetupError when the user has no home folder. */
export function cacheDirectory(env?: Environment, platform?: string): string;
export function cachedCopyDirectory(env?: Environment, machine?: string): string;
export function libraryName(name: string, platform?: string): string;
/** @param options.headers whether one must be able to compile with it. */
export function inspectLibtorch(
  directory: string,
  source: Libtorch['source'],
  options?: { headers?: boolean },
): { libtorch: Libtorch | null; problem: string | null };
export function pythonCandidates(env?: Environment): string[];
export function findLibtorch(env?: Environment, options?: { headers?: boolean }): Found;
export function readLinkedLibtorch(): Libtorch | null;
export function noteLibtorch(libtorch: Libtorch, env?: Environment): void;
/** @param compiled whether the addon was compiled on this machine. */
export function libtorchToLoad(compiled: boolean, env?: Environment): Found;
