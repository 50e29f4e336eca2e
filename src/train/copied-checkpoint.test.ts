/** A checkpoint's file that was copied out of its run: it says itself what no tensor shows. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { loadModel } from '../model.js';
import { newestCheckpoint } from '../run/checkpoint-files.js';
import type { TrainSettings } from '../run/settings.js';
import { makeChannelFolder } from '../testing/channel-folder.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { train } from './train.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-copied-'));
const at = (name: string): string => path.join(folder, name);
before(async () => {
  await makeImageFolder(at('images'), { classes: 2, perClass: 4 });
  makeChannelFolder(at('channels'));
});
after(() => rmSync(folder, { recursive: true }));

const HEADLESS: Partial<TrainSettings> = { ...TINY_SETTINGS, embedDim: 32, depth: 4, dropPathRate: 0 };
delete HEADLESS.numHeads;
const RUNS: Record<string, Partial<TrainSettings>> = {
  // of this width nobody would guess four heads
  vit: { ...TINY_SETTINGS, numHeads: 4 },
  // nothing but its run tells the size of the images that it was made for
  resnet: { ...HEADLESS, arch: 'resnet' },
  resnet_class_attention: { ...HEADLESS, arch: 'resnet_class_attention', depth: 3 },
  dinov3_vit: { ...TINY_SETTINGS, arch: 'dinov3_vit', embedDim: 32, numHeads: 2 },
  channels: {
    ...TINY_SETTINGS,
    channels: 4,
    saturation: 0,
    hue: 0,
    grayscaleProbability: 0,
    solarizeProbability: 0,
  },
};

for (const [name, settings] of Object.entries(RUNS))
  test(`is read as its run is: ${name}`, async () => {
    const images = at(name === 'channels' ? 'channels' : 'images');
    const output = at(`run-${name}`);
    const one = { epochs: 1, batchSize: 4, warmupEpochs: 0, warmupTeacherTempEpochs: 0 };
    await train({ images, output, settings: { ...settings, ...one } as TrainSettings });
    using whole = loadModel(output, { device: 'cpu' });
    for (const key of ['teacher', 'student']) {
      const copy = at(`${name}-${key}.safetensors`);
      copyFileSync(path.join(newestCheckpoint(output)!, `${key}.safetensors`), copy);
      const warnings: string[] = [];
      using alone = loadModel(copy, { device: 'cpu', onWarning: (message) => warnings.push(message) });
      assert.deepEqual(alone.architecture, whole.architecture);
      assert.deepEqual(alone.backbone.normalization, whole.backbone.normalization);
      assert.deepEqual(warnings, []);
    }
  });
