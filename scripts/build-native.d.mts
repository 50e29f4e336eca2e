/** A problem with the machine, not with this script. */
export class SetupError extends Error {}

/** $CXX, c++, g++, clang++: the first that runs and supports C++20; `prefix` holds arguments that come before all others. */
export function findCompiler(env?: Record<string, string | undefined>): {
  command: string;
  program: string;
  prefix: string[];
  version: string;
};

/** Builds the addons that are stale; `guarded`, the tests' device, only when it is named. */
export function buildNative(options?: {
  libtorch?: import('./find-libtorch.mjs').Libtorch | null;
  log?: (line: string) => void;
  only?: 'torch' | 'crops' | 'guarded';
  sanitize?: string[];
}): Promise<Partial<Record<'torch' | 'crops' | 'guarded', 'absent' | 'fresh' | 'built'>>>;
