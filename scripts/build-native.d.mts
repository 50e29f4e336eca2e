/** A problem of the machine, not of this script. */
export class SetupError extends Error {}

/** $CXX, c++, g++, clang++: the first that runs and knows C++20; `prefix` are arguments that come before all others. */
export function findCompiler(env?: Record<string, string | undefined>): {
  command: string;
  program: string;
  prefix: string[];
  version: string;
};
