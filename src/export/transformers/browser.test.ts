/** What is exported of DINOv2 and DINOv3 for transformers.js, in a page in a real Chromium that reaches only this machine. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { Model } from '../../model.js';
import {
  buildBackbone,
  type BackboneOptions,
  normalizeImages,
  type TokenBackbone,
} from '../../models/index.js';
import { launchBrowser, openPage, serveFolders } from '../../testing/browser.js';
import { hashBytes, hashFill } from '../../testing/hash-fill.js';
import { fromTypedArray, noGrad, scope } from '../../torch/index.js';
import type { Architecture } from '../../weights/architecture.js';
import { exportTransformers } from './export-transformers.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-transformers-page-'));
after(() => rmSync(folder, { recursive: true }));

const MODELS: Record<string, BackboneOptions & Partial<Architecture>> = {
  dinov2: {
    ...{ arch: 'dinov2_vit_reg', embedDim: 48, depth: 3, numHeads: 3, patchSize: 14 },
    ...{ imgSize: 28, positionsSize: 70, wholePatches: true },
  },
  dinov3: { arch: 'dinov3_vit', embedDim: 48, depth: 3, numHeads: 3, patchSize: 8, imgSize: 32 },
};

/** Exports a network, writes an image of the height that it is resized to, and computes its tokens here. */
async function exported(name: string): Promise<{ tokens: Float32Array; dims: number[] }> {
  const options = MODELS[name]!;
  const backbone = buildBackbone({ ...options, imgSize: options.positionsSize ?? options.imgSize });
  using model = new Model(hashFill(backbone, 0.1).eval(), options as Architecture, 'memory', 'cpu');
  const { resize, crop } = exportTransformers(model, path.join(folder, name), { quantized: false });
  const width = resize + 12;
  const bytes = hashBytes('image', [resize, width, 3]);
  const raw = { width, height: resize, channels: 3 } as const;
  await sharp(bytes, { raw })
    .png()
    .toFile(path.join(folder, `${name}.png`));
  const region = { top: (resize - crop) / 2, left: (width - crop) / 2, width: crop, height: crop };
  const cropped = await sharp(bytes, { raw }).extract(region).raw().toBuffer();
  return scope(() =>
    noGrad(() => {
      const pixels = fromTypedArray(new Uint8Array(cropped), [1, crop, crop, 3]).permute([0, 3, 1, 2]);
      const images = normalizeImages(pixels.contiguous(), backbone.normalization); // (1, 3, H, W)
      const tokens = (model.backbone as TokenBackbone).forwardTokens(images).contiguous();
      return { tokens: tokens.toTypedArray() as Float32Array, dims: [...tokens.shape] };
    }),
  );
}

test('transformers.js in Chromium gives our features of DINOv2 and DINOv3 to 1e-4', async (t) => {
  const browser = await launchBrowser();
  if (typeof browser === 'string') {
    t.skip(browser);
    return;
  }
  const server = await serveFolders({
    '/models': folder,
    '/examples': path.join(root, 'examples'),
    '/node_modules': path.join(root, 'node_modules'),
  });
  try {
    for (const name of Object.keys(MODELS)) {
      const expected = await exported(name);
      const { page, stopped, errors } = await openPage(browser, server.origin);
      const query = new URLSearchParams({ models: '/models/', model: name, image: `/models/${name}.png` });
      await page.goto(`${server.origin}/examples/features.html?${query.toString()}`);
      await page.waitForSelector('#result[data-state]', { timeout: 60_000 });
      const inPage = 'const { dataset, textContent } = document.getElementById("result");';
      const found = await page.evaluate(`(() => { ${inPage} return [dataset.state, textContent]; })()`);
      const [state, text] = found as [string, string];
      assert.equal(
        state,
        'done',
        `${name}: ${text.slice(0, 500)}\n${errors.join('\n')}\n${stopped.join('\n')}`,
      );
      assert.deepEqual(stopped, [], 'asked for something beyond this machine');
      const got = JSON.parse(text) as { dims: number[]; tokens: number[]; feature: number[] };
      assert.deepEqual(got.dims, expected.dims, name);
      const worst = Math.max(...got.tokens.map((value, i) => Math.abs(value - expected.tokens[i]!)));
      assert.ok(worst < 1e-4, `${name}: off by ${worst}`);
      assert.deepEqual(got.feature, got.tokens.slice(0, got.feature.length), `${name}: the class token`);
      await page.close();
    }
  } finally {
    await browser.close();
    await server.close();
  }
});
