/** What the list of runs says of a run, by its folder alone. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { appendLine, metricsPath, writeRunConfig } from '../train/run-folder.js';
import { Run } from './run.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-run-watcher-'));
after(() => rmSync(folder, { recursive: true }));

test('the batches of a run of several processes are those of all of them together', async () => {
  const run = path.join(folder, 'run');
  mkdirSync(run);
  writeRunConfig(run, {
    ...{ version: '0', images: folder, imageCount: 100, fingerprint: 'f', processes: 2 },
    settings: { ...TINY_SETTINGS, batchSize: 10, epochs: 3 },
  });
  appendLine(metricsPath(run), { step: 15, imagesPerSecond: 20 });
  const found = new Run(run, 'run');
  await found.look();
  assert.equal(found.summary.stepsPerEpoch, 5);
  assert.equal(found.summary.totalSteps, 15);
  assert.equal(found.summary.state, 'finished');
});
