/** The public API as the README shows it: train, load, embed, look, evaluate. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import {
  evaluateKnn,
  gatherFacts,
  listImages,
  loadModel,
  machineFacts,
  resolveSettings,
  train,
  writeAttention,
  writeFeatures,
} from 'dino-ts';
import { makeImageFolder } from '#built/testing/image-folder.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-api-'));
const images = path.join(folder, 'images');
before(() => makeImageFolder(images, { classes: 2, perClass: 8 }));
after(() => rmSync(folder, { recursive: true }));

it('trains on a folder and uses what was learnt', async () => {
  const list = await listImages(images);
  const paths = list.items.map((item) => item.path);
  const { settings, choices } = resolveSettings({
    facts: await gatherFacts(paths, machineFacts('cpu')),
    flags: {
      embedDim: 32,
      depth: 2,
      numHeads: 2,
      outDim: 32,
      epochs: 1,
      batchSize: 4,
      device: 'cpu',
      threads: 1,
    },
  });
  assert.ok(choices.length > 0);
  const losses: number[] = [];
  const result = await train({
    images: list,
    output: path.join(folder, 'run'),
    settings,
    onEvent: (event) => {
      if (event.type === 'step' && event.loss !== null) losses.push(event.loss);
    },
  });
  assert.equal(result.steps, 4);
  assert.equal(losses.at(-1), result.loss);

  using model = loadModel(result.output, { device: 'cpu' });
  const features = await model.embed(images);
  assert.deepEqual(features.shape, [16, 32]);
  assert.deepEqual(features.paths, paths);
  await writeFeatures(path.join(folder, 'features.npy'), features);
  const maps = await model.attention(paths[0]!, { threshold: 0.6 });
  assert.equal(maps.heads, 2);
  assert.equal((await writeAttention(maps, path.join(folder, 'maps'), { threshold: 0.6 })).length, 7);
  const knn = await evaluateKnn(model, { train: images, val: images, k: [1] });
  assert.equal(knn.top1['1'], 100, 'every image is its own nearest neighbour');

  // a signal that is aborted already stops before the first batch
  const running = evaluateKnn(model, {
    train: images,
    val: images,
    signal: AbortSignal.abort(new Error('stop')),
  });
  await assert.rejects(running, /stop/);
});
