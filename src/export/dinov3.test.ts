/** DINOv3's models as a page: the folder's model gives our outputs, and its manifest says what images go through. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { Model } from '../model.js';
import { buildBackbone, IMAGENET, SAT493M } from '../models/index.js';
import type { WebManifest } from '../plain/web-manifest.js';
import { hashFill } from '../testing/hash-fill.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { checkOnnx } from './onnx/check.js';
import { exportWeb } from './web/export-web.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-export-dinov3-'));
after(() => rmSync(folder, { recursive: true }));

for (const { options, normalization } of [
  {
    options: { arch: 'dinov3_vit', embedDim: 48, depth: 3, numHeads: 3, patchSize: 8, imgSize: 32 },
    normalization: SAT493M,
  },
  {
    options: { arch: 'dinov3_convnext', embedDim: 64, depth: 6, numHeads: 0, patchSize: 32, imgSize: 64 },
    normalization: IMAGENET,
  },
] as const)
  test(`the page of a ${options.arch} has our features, and a gallery`, async () => {
    const backbone = hashFill(buildBackbone(options), 0.1).eval();
    backbone.normalization = normalization;
    using model = new Model(backbone, options, 'memory', 'cpu');
    const images = path.join(folder, 'images');
    await makeImageFolder(images, { classes: 2, perClass: 3 });
    const site = path.join(folder, options.arch);
    const result = await exportWeb(model, site, { dtype: 'fp32', images });
    assert.deepEqual([result.images, result.skipped.length], [6, 0]);
    const check = (await checkOnnx(model, result.model, { imageSize: [64, 96] }))!;
    const hasAttention = options.numHeads > 0;
    const names = [...(hasAttention ? ['class_attention'] : []), 'class_token', 'patch_tokens'];
    assert.deepEqual(Object.keys(check.differences).sort(), names);
    for (const [name, difference] of Object.entries(check.differences))
      assert.ok(difference < 1e-4, `${name} is off by ${difference}`);
    const manifest = JSON.parse(readFileSync(path.join(site, 'model.json'), 'utf8')) as WebManifest;
    assert.deepEqual([manifest.mean, manifest.std], [normalization.mean, normalization.std]);
    assert.equal(manifest.model.outputs.attention, hasAttention ? 'class_attention' : null);
    assert.equal(manifest.gallery!.count, 6);
  });
