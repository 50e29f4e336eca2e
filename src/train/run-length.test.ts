/** Lengths that a run can't have, and what is said about one that changed. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ConfigError } from '../errors.js';
import { configPath } from '../run/run-folder.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { changedLength } from './run-length.js';
import { train } from './train.js';

const top = mkdtempSync(path.join(tmpdir(), 'dino-length-'));
const images = path.join(top, 'images');
before(() => makeImageFolder(images, { classes: 2, perClass: 5 }));
after(() => rmSync(top, { recursive: true, force: true }));

const SETTINGS = { ...TINY_SETTINGS, epochs: 1, warmupTeacherTempEpochs: 0 };
const tooLong =
  (flag: string) =>
  (error: unknown): boolean =>
    error instanceof ConfigError &&
    new RegExp(`${flag} \\d+: .*expected at most 100,000,000`).test(error.message);

test('a run of more steps than there can be is refused before anything is written', async () => {
  for (const [flag, more] of [
    ['--steps', { steps: 1e12 }],
    ['--epochs', { epochs: 1e8 }],
    ['--warmup-teacher-temp-epochs', { steps: 3, warmupTeacherTempEpochs: 1e12 }],
  ] as const) {
    const output = path.join(top, 'never');
    await assert.rejects(train({ images, output, settings: { ...SETTINGS, ...more } }), tooLong(flag));
    assert.ok(!existsSync(configPath(output)));
  }
  const output = path.join(top, 'run');
  await train({ images, output, settings: SETTINGS });
  const before = readFileSync(configPath(output), 'utf8');
  const longer = { ...SETTINGS, epochs: 1e12 };
  await assert.rejects(train({ output, settings: longer, resume: true }), tooLong('--epochs'));
  assert.equal(readFileSync(configPath(output), 'utf8'), before);
  await train({ output, resume: true });
});

test('a changed length is said with its units', () => {
  const state = { run: 'run', time: null, step: 4, stepsPerEpoch: 5 };
  const words = (planned: { epochs: number; steps?: number }, length: { epochs: number; steps?: number }) =>
    changedLength({ ...state, planned, length })[0] ?? '';
  assert.match(words({ epochs: 2, steps: 7 }, { epochs: 2 }), /goes on to 2 epochs instead of 7 steps:/);
  assert.match(words({ epochs: 2, steps: 7 }, { epochs: 2, steps: 9 }), /goes on to 9 steps instead of 7:/);
  assert.match(words({ epochs: 2 }, { epochs: 3, steps: 11 }), /goes on to 11 steps instead of 2 epochs:/);
  assert.match(words({ epochs: 2 }, { epochs: 3 }), /goes on to 3 epochs instead of 2:/);
});
