/** dino-shards.json, which `dino shard` writes beside its shards: what they were made from, and the names of the classes. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { DataError } from '../../../errors.js';
import { readGuarded } from '../../../files/guarded.js';

export const DESCRIPTION = 'dino-shards.json';
/** That of a million shards takes 150 MB. */
const MAX_BYTES = 2 ** 28;

const count = z.int().min(0);
const schema = z.object({
  /** The version of this file's layout. */
  version: z.literal(1),
  images: count,
  /** The fingerprint of the list that the shards were made from. */
  fingerprint: z.string(),
  /** Names of the classes, in the order of the numbers in the .cls files; null without labels. */
  classes: z.array(z.string()).nullable(),
  shards: z.array(z.object({ file: z.string(), images: count, bytes: count, sha256: z.string() })),
});
export type ShardsDescription = z.infer<typeof schema>;

export interface FoundDescription {
  description: ShardsDescription;
  state: { size: number; mtimeMs: number };
}

/**
 * Reads the description of the shards in a folder; null when there is none.
 * @throws DataError when it is damaged
 */
export async function readDescription(folder: string): Promise<FoundDescription | null> {
  const file = path.join(folder, DESCRIPTION);
  const info = await stat(file).catch(() => null);
  if (info === null) return null;
  let problem: string;
  try {
    const text = readGuarded(file, { maxBytes: MAX_BYTES }).toString('utf8');
    const parsed = schema.safeParse(JSON.parse(text));
    if (parsed.success) {
      return { description: parsed.data, state: { size: info.size, mtimeMs: info.mtimeMs } };
    }
    problem = z.prettifyError(parsed.error);
  } catch (error) {
    problem = (error as Error).message;
  }
  throw new DataError(
    `${file} can't be read: ${problem}. It names the classes of the shards beside it: restore it, or move it away ` +
      'to have numbers for the names of the classes.',
  );
}
