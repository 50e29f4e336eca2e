/** Two processes that train together on a device: on the one without hardware, whose collectives go through main memory. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { readLines } from '../files/json-lines.js';
import { readRunConfig } from '../run/run-folder.js';
import type { TrainSettings } from '../run/settings.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { dino } from '../testing/ranks.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { isGuarded, openTestDevice, TEST_DEVICE } from '../testing/test-device.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { train } from './train.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-device-processes-'));
const at = (name: string): string => path.join(folder, name);
const images = at('images');
before(async () => {
  await openTestDevice();
  await makeImageFolder(images, { classes: 2, perClass: 6 });
});
after(() => rmSync(folder, { recursive: true }));

/** Three steps. */
const SETTINGS: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ device: TEST_DEVICE, dropPathRate: 0, batchSize: 4, steps: 3, numWorkers: 0, threads: 1 },
  ...{ watchImages: ['none'] },
};

const preload = {
  NODE_OPTIONS: `--import ${new URL('../testing/open-test-device.js', import.meta.url).href}`,
};

/** Two processes with half the batch each. */
async function two(name: string, settings: TrainSettings): Promise<string> {
  const file = at(`${name}.json`);
  writeFileSync(file, JSON.stringify({ ...settings, batchSize: settings.batchSize / 2 }));
  const line = ['train', images, '--output', at(name), '--preset', 'paper', '--config', file];
  const { code, stderr } = await dino([...line, '--nproc', '2', '--dist-timeout', '60'], preload);
  assert.equal(code, 0, stderr);
  return at(name);
}

it(
  'two processes compute what one does, and their runs are the same to the bit',
  { skip: !isGuarded },
  async () => {
    const run = await two('two', SETTINGS);
    const { processes, settings } = readRunConfig(run);
    assert.deepEqual([processes, settings.device], [2, TEST_DEVICE]);
    await train({ images, output: at('one'), settings: SETTINGS });
    const [got, expected] = [run, at('one')].map((of) => readLines(path.join(of, 'metrics.jsonl')));
    assert.equal(got!.length, expected!.length);
    for (const [i, line] of got!.entries())
      for (const name of ['loss', 'teacherEntropy', 'kl', 'centerNorm']) {
        const [a, b] = [line[name], expected![i]![name]] as [number, number];
        assert.ok(
          Math.abs(a - b) <= 1e-4 * Math.max(1, Math.abs(b)),
          `step ${i + 1}: ${name} ${a}, not ${b}`,
        );
      }
    const unread = await two('unread', { ...SETTINGS, logEvery: 100 });
    const [read, files] = [fingerprint(run), fingerprint(unread)];
    for (const found of [read, files]) delete found['losses'];
    assert.deepEqual(files, read);
  },
);
