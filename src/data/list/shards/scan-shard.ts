import { DataError } from '../../../errors.js';
import { readProblem } from '../../read/read-problem.js';
import { scanParquet } from './scan-parquet.js';
import { scanTar } from './scan-tar.js';
import type { ScannedShard } from './scanned-shard.js';

/** Lists the images of one shard, without an index. @throws DataError that names the shard and the reason */
export async function scanShard(file: string): Promise<ScannedShard> {
  try {
    return file.toLowerCase().endsWith('.parquet') ? await scanParquet(file) : await scanTar(file);
  } catch (error) {
    throw new DataError(`${file}: ${readProblem(error).message}`, { cause: error });
  }
}
