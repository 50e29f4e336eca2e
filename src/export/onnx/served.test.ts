/**
 * Exported models where people serve them, by the programs in examples/: transformers.js in Node and in a page in a real
 * Chromium, and onnxruntime in Node. Each in a process of its own, as a user has it, without a network.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { normalizeImages, VisionTransformer } from '../../models/index.js';
import { launchBrowser, openPage, serveFolders } from '../../testing/browser.js';
import { hashBytes, hashFill } from '../../testing/hash-fill.js';
import { fromTypedArray, noGrad, scope } from '../../torch/index.js';
import { Model } from '../../model.js';
import { exportOnnx } from './export-onnx.js';
import { exportTransformers } from '../transformers/export-transformers.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-served-'));
after(() => rmSync(folder, { recursive: true }));

const RESIZE = 36;
const CROP = 32;
/** 36 high already, so that nothing is resized, and wider than the crop. */
const WIDTH = 44;
const image = path.join(folder, 'image.png');
const square = path.join(folder, 'square.png');
let expected: { tokens: Float32Array; dims: number[] };
let ofSquare: Float32Array;

before(async () => {
  const shape = { embedDim: 96, depth: 3, numHeads: 3 };
  const options = { arch: 'vit', patchSize: 8, imgSize: CROP, ...shape } as const;
  const backbone = hashFill(new VisionTransformer(options), 0.1).eval();
  const model = new Model(backbone, options, 'memory', 'cpu');
  const { resize, crop } = exportTransformers(model, path.join(folder, 'dino'));
  assert.deepEqual([resize, crop], [RESIZE, CROP]);
  exportOnnx(model, path.join(folder, 'dino.onnx'));

  // every second pixel alike: some structure, so that a wrong crop would be noticed
  const bytes = hashBytes('image', [RESIZE, WIDTH, 3]);
  const raw = { width: WIDTH, height: RESIZE, channels: 3 } as const;
  await sharp(bytes, { raw }).png().toFile(image);
  const [top, left] = [(RESIZE - CROP) / 2, (WIDTH - CROP) / 2];
  const region = { top, left, width: CROP, height: CROP };
  const cropped = await sharp(bytes, { raw }).extract(region).raw().toBuffer();
  await sharp(cropped, { raw: { width: CROP, height: CROP, channels: 3 } })
    .png()
    .toFile(square);
  scope(() =>
    noGrad(() => {
      const pixels = fromTypedArray(new Uint8Array(cropped), [1, CROP, CROP, 3]).permute([0, 3, 1, 2]); // (1, 3, H, W)
      const tokens = backbone.forwardTokens(normalizeImages(pixels)).contiguous(); // (1, 1 + N, D)
      expected = { tokens: tokens.toTypedArray() as Float32Array, dims: [...tokens.shape] };
    }),
  );
  ofSquare = expected.tokens.subarray(0, shape.embedDim);
  model.dispose();
});

interface Features {
  dims: number[];
  tokens: number[];
  feature: number[];
}

function assertExact(got: Features, where: string): void {
  assert.deepEqual(got.dims, expected.dims);
  const worst = Math.max(...got.tokens.map((value, i) => Math.abs(value - expected.tokens[i]!)));
  assert.ok(worst < 1e-3, `${where}: off by ${worst}`);
  assert.deepEqual(got.feature, got.tokens.slice(0, got.feature.length));
}

function assertClose(got: Features, where: string): void {
  let [product, own, other] = [0, 0, 0];
  for (const [i, value] of got.tokens.entries()) {
    product += value * expected.tokens[i]!;
    own += value ** 2;
    other += expected.tokens[i]! ** 2;
  }
  const cosine = product / Math.sqrt(own * other);
  assert.ok(cosine > 0.99 && cosine < 1 - 1e-9, `${where}: cosine similarity ${cosine}`);
}

function runExample(name: string, ...args: string[]): unknown {
  const text = execFileSync(process.execPath, [path.join(root, 'examples', name), ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  return JSON.parse(text);
}

describe('an exported model gives our features', () => {
  it('in onnxruntime, by examples/onnx.mjs', () => {
    const { feature } = runExample('onnx.mjs', path.join(folder, 'dino.onnx'), String(CROP), square) as {
      feature: number[];
    };
    assert.equal(feature.length, ofSquare.length);
    const worst = Math.max(...feature.map((value, i) => Math.abs(value - ofSquare[i]!)));
    assert.ok(worst < 1e-4, `off by ${worst}`);
  });

  it('in transformers.js, by examples/transformers.mjs', () => {
    const model = path.join(folder, 'dino');
    assertExact(runExample('transformers.mjs', model, 'fp32', image) as Features, 'Node');
    assertClose(runExample('transformers.mjs', model, 'q8', image) as Features, 'Node, 8 bits');
  });

  it('in a page in Chromium, by examples/features.html', async (t) => {
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
      for (const dtype of ['fp32', 'q8']) {
        const { page, stopped, errors } = await openPage(browser, server.origin);
        const query = new URLSearchParams({
          models: '/models/',
          model: 'dino',
          image: '/models/image.png',
          dtype,
        });
        await page.goto(`${server.origin}/examples/features.html?${query.toString()}`);
        await page.waitForSelector('#result[data-state]', { timeout: 60_000 });
        // as text: TypeScript knows no page here
        const inPage = 'const { dataset, textContent } = document.getElementById("result");';
        const found = await page.evaluate(`(() => { ${inPage} return [dataset.state, textContent]; })()`);
        const [state, text] = found as [string, string];
        assert.equal(state, 'done', `${text.slice(0, 500)}\n${errors.join('\n')}\n${stopped.join('\n')}`);
        assert.deepEqual(stopped, [], 'asked for something beyond this machine');
        const features = JSON.parse(text) as Features;
        if (dtype === 'fp32') assertExact(features, 'Chromium');
        else assertClose(features, 'Chromium, 8 bits');
        await page.close();
      }
    } finally {
      await browser.close();
      await server.close();
    }
  });
});
