/** Paths of images within shards. */

/** A path that listImages() gives for an image of a shard: `shard.tar::name`. */
export const IN_SHARD = /^(.+?\.(?:tar|parquet))::(.*)$/is;

/** The shard that such a path names; null for a file's own path. */
export const shardOf = (path: string): string | null => IN_SHARD.exec(path)?.[1] ?? null;
