import type { Libtorch } from './find-libtorch.d.mts';

export { SetupError } from './setup-error.d.mts';

/** $CXX, c++, g++, clang++: the first that runs and supports C++20; `prefix` holds arguments that come before all others. */
export function findCompiler(env?: Record<string, string | undefined>): {
  command: string;
  program: string;
  prefix: string[];
  version: string;
};

/**
 * Builds the addons that are stale; `guarded`, the tests' device, only when it is named.
 * @throws SetupError without a compiler or headers, or when compiling fails.
 */
export function buildNative(options: {
  libtorch: Libtorch | null;
  log?: (line: string) => void;
  only?: 'torch' | 'crops' | 'guarded';
  sanitize?: string[];
}): Promise<Record<string, 'absent' | 'fresh' | 'built'>>;
