import { IN_SHARD } from './shard-path.js';
import { readQuickly } from './quick-read.js';
import { readProblem } from './read-problem.js';

/**
 * Reads an image file, or an image of a shard by its path `shard.tar::name` (for one now and then: the shard is looked
 * through first; ImageReader knows its places).
 * @throws DataError with the reason alone
 */
export async function readImageFile(path: string): Promise<Buffer> {
  try {
    const [, shard, name] = IN_SHARD.exec(path) ?? [];
    if (shard === undefined || name === undefined) return await readQuickly(path);
    const { readFromShard } = await import('../list/shards/find-in-shard.js');
    return await readFromShard(shard, name);
  } catch (error) {
    throw readProblem(error);
  }
}
