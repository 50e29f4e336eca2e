/** One image of a shard by its name. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { DataError } from '../../../errors.js';
import { PlaceReader } from '../../read/place-reader.js';
import { readProblem } from '../../read/read-problem.js';
import { listShard } from './list-shards.js';
import type { ScannedShard } from './scanned-shard.js';

/** Shards whose places are remembered. */
const KEPT = 16;

const known = new Map<string, Promise<ScannedShard>>();

/** @throws DataError with the reason alone */
export async function readFromShard(file: string, name: string): Promise<Buffer> {
  const absolute = path.resolve(file);
  let key: string;
  try {
    const { size, mtimeMs } = await stat(absolute);
    key = `${absolute}\0${size}\0${mtimeMs}`;
  } catch (error) {
    throw readProblem(error);
  }
  const shard = known.get(key) ?? listShard(absolute);
  known.delete(key);
  known.set(key, shard);
  if (known.size > KEPT) known.delete(known.keys().next().value!);
  shard.catch(() => known.delete(key));
  const { images } = await shard;
  for (let i = 0; i < images.length; i++) {
    if (images.name(i) !== name) continue;
    const reader = new PlaceReader();
    const { part, offset, length } = images.place(i);
    try {
      return Buffer.from(await reader.read(part, offset, length));
    } catch (error) {
      throw readProblem(error);
    } finally {
      reader.close();
    }
  }
  throw new DataError(`the shard has no image of this name`);
}
