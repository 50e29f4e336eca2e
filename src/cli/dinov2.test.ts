/** The commands, and what they call, with one of DINOv2's networks: registers apart, sizes in whole patches. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { evaluateCopyDetection } from '../eval/copy-detection.js';
import { evaluateKnn } from '../eval/knn.js';
import { evaluateLinear } from '../eval/linear.js';
import { features } from '../eval/retrieval.js';
import { evaluateVideoSegmentation } from '../eval/video-segmentation.js';
import { lookAt } from '../explain/look.js';
import { patchPca } from '../explain/patch-pca.js';
import { frameAttention } from '../explain/video.js';
import { loadModel, type Model } from '../model.js';
import { buildBackbone, type Dinov2, isAttentive, normalizeImages } from '../models/index.js';
import { fixtureImage } from '../testing/fixture-image.js';
import { hashFill } from '../testing/hash-fill.js';
import { writeColourFolders } from '../testing/saved-run.js';
import { fromTypedArray, inferenceMode, scope } from '../torch/index.js';
import { exportWeights } from '../weights/export-weights.js';
import { writePth } from '../weights/pth-write.js';

const bin = fileURLToPath(new URL('../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-dinov2-'));
const at = (...names: string[]): string => path.join(folder, ...names);
after(() => rmSync(folder, { recursive: true }));
const images = at('images');
const weights = at('dinov2.pth');
const [WIDTH, HEIGHT] = [90, 60];
let model: Model;

before(async () => {
  await writeColourFolders(images, 4);
  const raw = { width: WIDTH, height: HEIGHT, channels: 3 } as const;
  await sharp(fixtureImage(WIDTH, HEIGHT, 1), { raw }).png().toFile(at('wide.png'));
  // of a release's form: positions for 518 pixels
  const network = buildBackbone({ arch: 'dinov2_vit_reg', embedDim: 24, depth: 2, numHeads: 2, patchSize: 14, imgSize: 518 });
  writePth(at('raw.pth'), hashFill(network, 0.1).stateDict());
  network.dispose();
  exportWeights(at('raw.pth'), { format: 'pth', output: weights, numHeads: 2 });
  model = loadModel(weights, { device: 'cpu' });
}); // prettier-ignore
after(() => model.dispose());

function dino(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const env = { ...process.env, XDG_CACHE_HOME: at('cache') };
  return spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8', timeout: 180_000, env });
}

it('info says for which sizes it is', () => {
  const { stdout, stderr } = dino('info', weights);
  assert.match(
    stdout,
    /dinov2_vit_reg: .* made for 224 x 224 pixels \(with positions for 518 x 518; other sizes, multiples of 14, work too\)/,
    stderr,
  );
});

it('embed takes 224 pixels unless told otherwise, 70 for one, and refuses what is not whole patches', async () => {
  const usual = await model.embed([at('wide.png')]);
  assert.deepEqual(usual.shape, [1, 24]);
  const patches = await model.embed([at('wide.png')], { features: 'patches' });
  assert.deepEqual(patches.shape, [1, 256, 24]);
  const sizes = { resize: 84, crop: 70 };
  const [mean, each, two] = await Promise.all([
    model.embed([at('wide.png')], { ...sizes, features: 'patch-mean' }),
    model.embed([at('wide.png')], { ...sizes, features: 'patches' }),
    model.embed([at('wide.png')], { ...sizes, layers: 2 }),
  ]);
  assert.deepEqual([each.shape, two.shape], [[1, 25, 24], [1, 48]]);
  // of the patches alone: no class token, no registers
  for (let i = 0; i < 24; i++) {
    const values = Array.from({ length: 25 }, (_, patch) => each.features[patch * 24 + i]!);
    const own = values.reduce((sum, value) => sum + value) / 25;
    assert.ok(Math.abs(own - mean.features[i]!) < 1e-5);
  }
  const wrong = dino('embed', weights, images, '--output', at('f.npy'), '--crop', '64', '--device', 'cpu');
  assert.notEqual(wrong.status, 0);
  assert.match(wrong.stderr, /crop 64; expected a multiple of 14, the side of the model's patches, such as 56 or 70/);
  assert.ok(!existsSync(at('f.npy')));
}); // prettier-ignore

it('attention says what the registers take, and leaves them out of maps, components and the studio’s look', async () => {
  const shown = dino('attention', weights, at('wide.png'), '--output', at('maps'), '--image-size', '56,84', '--pca');
  assert.equal(shown.status, 0, shown.stderr);
  const [, share] = /2 heads of 4 x 6 patches; 4 register tokens, which take (\d+)%, are left out/.exec(shown.stderr)!;
  assert.ok(Number(share) > 0 && Number(share) < 100);
  assert.ok(readdirSync(at('maps')).includes('attn-head1.png'));
  const result = await model.attention(at('wide.png'), { imageSize: [56, 84], threshold: 0.6 });
  assert.deepEqual([result.rows, result.columns, result.maps.length, result.registers], [4, 6, 2 * 24, 4]);
  scope(() =>
    inferenceMode(() => {
      const backbone = model.backbone as Dinov2;
      const pixels = fromTypedArray(result.image, [1, 56, 84, 3]).permute([0, 3, 1, 2]).contiguous();
      const row = backbone.getLastSelfAttention(normalizeImages(pixels), { queries: 'class' }); // (1, 2, 1, 29)
      const expected = row.slice(3, 5).contiguous().toArray();
      assert.deepEqual([...result.maps], [...expected]);
      const registers = Number(row.slice(3, 1, 5).sum([3]).mean().item());
      assert.ok(Math.abs(registers - result.registerShare) < 1e-5);
    }),
  );
  // the usual size: 480 pixels for a model of 224, in whole patches
  const { rows, columns } = await model.attention(at('wide.png'));
  assert.deepEqual([rows, columns], [34, 51]);

  const looked = await lookAt(model, [at('wide.png')], { imageSize: [56, 84] });
  assert.deepEqual([looked.registers, looked.images[0]!.features!.length], [4, 24 * 24]);
  const painted = await patchPca(model, [at('wide.png')], { imageSize: [56, 84] });
  assert.deepEqual(painted.images[0]!.colours, looked.images[0]!.colours);
}); // prettier-ignore

it('k-NN, a linear probe, an index and its regions, and copies', async () => {
  const sizes = { resize: 32, crop: 28, numWorkers: 0 };
  const { top1 } = await evaluateKnn(model, { train: images, val: images, k: [1], ...sizes });
  assert.equal(top1[1], 100);
  const probe = { nLastBlocks: 2, avgpoolPatchtokens: true };
  const linear = await evaluateLinear(model, {
    ...{ train: images, val: images, output: at('linear'), epochs: 1, ...probe, ...sizes },
  });
  assert.equal(linear.classes, 3);

  const flags = ['--device', 'cpu', '--num-workers', '0'];
  const made = dino('index', weights, images, '--output', at('index'), '--features', 'patch-mean', ...flags, '--crop', '28');
  assert.equal(made.status, 0, made.stderr);
  const found = dino('search', at('index'), path.join(images, 'red', 'red 0.png'), '--region', '0,0,0.5,0.5', '--device', 'cpu');
  assert.equal(found.status, 0, found.stderr);

  mkdirSync(at('copydays', 'original'), { recursive: true });
  mkdirSync(at('copydays', 'strong'), { recursive: true });
  for (const part of ['original', 'strong'])
    await sharp(path.join(images, 'red', 'red 0.png')).jpeg().toFile(at('copydays', part, '200000.jpg'));
  const copies = await evaluateCopyDetection(model, { dataPath: at('copydays'), numWorkers: 0 });
  assert.equal(copies.imsize, 322); // the reference's 320 is not a multiple of 14
  await assert.rejects(evaluateCopyDetection(model, { dataPath: at('copydays'), imsize: 320 }), /308 or 322/);
}); // prettier-ignore

it('masks of a video are propagated at a size of whole patches near the usual 480', async () => {
  const data = fileURLToPath(new URL('../../test/fixtures/video/davis', import.meta.url));
  const output = at('masks');
  const { sequences } = await evaluateVideoSegmentation(model, { data, output, sequences: ['two'], size: 70 });
  assert.equal(sequences[0]!.frames, readdirSync(path.join(output, 'two')).length);
  await assert.rejects(evaluateVideoSegmentation(model, { data, output, size: 480 }), /480; expected a multiple of 14.*476 or 490/);
}); // prettier-ignore

it('images in shapes of their own, and frames of a video, are cut to whole patches', async () => {
  const { backbone } = model;
  assert.ok(isAttentive(backbone));
  for (const multiscale of [false, true]) {
    const own = await features(model, [at('wide.png')], 'images', { dataPath: '', imsize: 75, multiscale, numWorkers: 0 });
    assert.deepEqual([own.width, own.rows.every(Number.isFinite)], [24, true]);
  }
  const data = fixtureImage(WIDTH, HEIGHT, 2);
  const { rows, columns, map } = frameAttention(model, backbone, { data, width: WIDTH, height: HEIGHT }, {});
  assert.deepEqual([rows, columns, map.length], [4, 6, 24]);
}); // prettier-ignore
