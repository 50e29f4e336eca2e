/** The result of a run, for tests that compare runs. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { newestCheckpoint } from '../run/checkpoint-files.js';
import { readLines } from '../files/json-lines.js';

/** A hash of every file of a run's newest checkpoint, and its losses. */
export function fingerprint(run: string): Record<string, string> {
  const newest = newestCheckpoint(run) ?? assert.fail('no checkpoint');
  const result: Record<string, string> = { checkpoint: path.basename(newest) };
  for (const file of readdirSync(newest).sort()) {
    result[file] = createHash('sha256')
      .update(readFileSync(path.join(newest, file)))
      .digest('hex');
  }
  const losses = readLines(path.join(run, 'metrics.jsonl')).map(({ step, epoch, loss, lr, kl }) => [
    step,
    epoch,
    loss,
    lr,
    kl,
  ]);
  result['losses'] = JSON.stringify(losses);
  return result;
}
