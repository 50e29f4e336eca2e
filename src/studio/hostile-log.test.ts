/** Logs of a run that a stranger made: lines too deeply nested to be written again, and a hole of 64 GiB. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { readLines } from '../files/json-lines.js';
import { MetricsLog } from './metrics-log.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-hostile-log-'));
after(() => rmSync(folder, { recursive: true }));

test('a line with too deeply nested brackets is left out, like a damaged one', () => {
  const file = path.join(folder, 'metrics.jsonl');
  const deep = `{"step":2,"deep":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
  writeFileSync(file, `{"step":1,"why":"[[[["}\n${deep}\n{"step":3,"top1":{"10":[1]}}\n`);
  const lines = readLines(file);
  assert.deepEqual(
    lines.map((line) => line['step']),
    [1, 3],
  );
  assert.equal(JSON.stringify(lines).length > 0, true);
});

test('a log that is a hole of 64 GiB is reported, not read through', async () => {
  const file = path.join(folder, 'hole.jsonl');
  writeFileSync(file, '');
  truncateSync(file, 2 ** 36);
  const log = new MetricsLog(file, { imagesPerStep: 4, monitor: null });
  await log.advance();
  assert.equal(log.position, 0);
  assert.match(log.problem ?? '', /68719476736 bytes; at most 2147483648/);
});
