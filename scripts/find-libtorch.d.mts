/** An installation of libtorch on this machine. */
export interface Libtorch {
  /** Which of the three places it came from. */
  source: 'LIBTORCH' | 'python' | 'own copy';
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

export const TORCH_VERSION: string;
export const packageRoot: string;
export const ownCopyDirectory: string;
export const linkedFile: string;
export function pipRequirements(platform?: string): string[];
export function inspectLibtorch(
  directory: string,
  source: Libtorch['source'],
): { libtorch: Libtorch | null; problem: string | null };
export function pythonCandidates(env?: Record<string, string | undefined>): string[];
export function findLibtorch(env?: Record<string, string | undefined>): {
  libtorch: Libtorch | null;
  tried: TriedPlace[];
};
export function readLinkedLibtorch(): Libtorch | null;
