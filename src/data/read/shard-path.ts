/** Paths of images in shards. */

import { existsSync } from 'node:fs';

/** The path of an image in a shard, as listImages() has it: `shard.tar::name`. */
const IN_SHARD = /^(.+?\.(?:tar|parquet))::(.*)$/is;

/** The shard and the name in it that such a path has; null for the path of a file, which may look like one. */
export function splitShardPath(path: string): { shard: string; name: string } | null {
  const [, shard, name] = IN_SHARD.exec(path) ?? [];
  return shard === undefined || name === undefined || existsSync(path) ? null : { shard, name };
}

/** The shard that such a path names; null for the path of a file. */
export const shardOf = (path: string): string | null => splitShardPath(path)?.shard ?? null;
