/** Paths of images in shards. */

/** The path of an image in a shard, as listImages() has it: `shard.tar::name`. */
export const IN_SHARD = /^(.+?\.(?:tar|parquet))::(.*)$/is;

/** The shard that such a path names; null for the path of a file. */
export const shardOf = (path: string): string | null => IN_SHARD.exec(path)?.[1] ?? null;
