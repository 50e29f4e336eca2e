/** For tests: the generation that questions about an index name. */
import { readManifest, writingOf } from '../explore/index-format.js';

/** 0 where there is no index, or a broken one. */
export function findGeneration(index: string): number {
  try {
    return writingOf(readManifest(index));
  } catch {
    return 0;
  }
}
