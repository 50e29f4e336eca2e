/** Where the two addons are: beside their sources, in a checkout and in an installed package alike. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export type AddonName = 'torch' | 'crops';

/** At which level of vector instructions an addon's own loops run; `DINO_VECTORS` chooses another than the best. */
export interface VectorReport {
  /** 'base', 'v3' or 'v4' (x86-64-v3 and -v4: AVX2, AVX-512). */
  level: string;
  /** What this machine has, the best last. */
  available: string[];
}

/** native/NAME/build/NAME.node, or that of the folder `DINO_NATIVE_BUILD` names in place of `build`. */
export function addonFile(name: AddonName): string {
  const folder = fileURLToPath(new URL(`../native/${name}/`, import.meta.url));
  return path.join(folder, process.env['DINO_NATIVE_BUILD'] ?? 'build', `${name}.node`);
}

/** Whether an error of a load is about the level asked for, and not about the addon: `DINO_VECTORS=v9 is not a level ...`. */
export function isVectorProblem(error: unknown): error is Error {
  return error instanceof Error && error.message.startsWith('DINO_VECTORS=');
}
