/** Where one image of a shard lies, by its name. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { DataError } from '../../../errors.js';
import type { ShardPlace } from '../../read/image-place.js';
import { scanShard } from './scan-shard.js';
import type { ScannedShard } from './scanned-shard.js';

/** Most shards whose places are remembered. */
const KEPT = 16;

const known = new Map<string, Promise<ScannedShard>>();

/** @throws DataError with only the reason when there is no such image; else as stat() of node:fs */
export async function findInShard(file: string, name: string): Promise<ShardPlace> {
  const absolute = path.resolve(file);
  const { size, mtimeMs } = await stat(absolute);
  const key = `${absolute}\0${size}\0${mtimeMs}`;
  const shard = known.get(key) ?? scanShard(absolute);
  known.delete(key);
  known.set(key, shard);
  if (known.size > KEPT) known.delete(known.keys().next().value!);
  shard.catch(() => known.delete(key));
  const { images } = await shard;
  for (let i = 0; i < images.length; i++) {
    if (images.name(i) !== name) continue;
    const place = images.place(i);
    if (place.kind === 'tar' || place.kind === 'parquet') return place;
  }
  throw new DataError('the shard has no image of this name');
}
