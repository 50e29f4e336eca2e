/** A run folder below its own images, as `cd photos; dino train .` makes one, and one that is the folder of the images. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ConfigError } from '../errors.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { train } from './train.js';

const images = mkdtempSync(path.join(tmpdir(), 'dino-among-'));
before(() => makeImageFolder(images, { classes: 2, perClass: 5 }));
after(() => rmSync(images, { recursive: true, force: true }));

const settings = { ...TINY_SETTINGS, epochs: 1, warmupTeacherTempEpochs: 0, watchImages: ['auto'] };

test('a run below its images is resumed, and its pictures are not trained on', async () => {
  const output = path.join(images, 'runs', 'one');
  const first = await train({ images, output, settings });
  assert.ok(existsSync(path.join(output, 'watch')));
  const longer = await train({ images, output, settings: { ...settings, epochs: 2 }, resume: true });
  assert.equal(longer.steps, 2 * first.steps);
});

test('a run in the folder of its images is refused before it leaves anything there', async () => {
  await assert.rejects(
    train({ images, output: `${images}/.`, settings }),
    (error) => error instanceof ConfigError && /is the folder of the images/.test(error.message),
  );
  assert.ok(!existsSync(path.join(images, 'config.json')));
});
