import { PlaceReader } from './place-reader.js';
import { readQuickly } from './quick-read.js';
import { readProblem } from './read-problem.js';
import { splitShardPath } from './shard-path.js';

/**
 * Reads an image file, or an image of a shard by its path `shard.tar::name`. The latter is for single images, because the
 * shard is scanned for the name first; {@link ImageReader} has the places of all images of a list.
 * @throws DataError with only the reason, without the path
 */
export async function readImageFile(path: string): Promise<Uint8Array> {
  try {
    const place = splitShardPath(path);
    return await (place === null ? readQuickly(path) : readByName(place.shard, place.name));
  } catch (error) {
    throw readProblem(error);
  }
}

async function readByName(shard: string, name: string): Promise<Uint8Array> {
  // the only thing here that scans shards: loaded when it is needed
  const { findInShard } = await import('../list/shards/find-in-shard.js');
  const place = await findInShard(shard, name);
  const reader = new PlaceReader();
  try {
    return await reader.read(place);
  } finally {
    reader.close();
  }
}
