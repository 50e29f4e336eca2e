/**
 * Our part of the learning-curve comparison, with the settings in setting.json:
 *
 *   node bench/learning-curve/ours.mjs --data PATH_OF_CIFAR --output OUT.json --seed 0 --precision fp32
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { evaluateKnn, listImages, loadModel, PAPER, train } from '../../dist/index.js';

const { values } = parseArgs({
  options: {
    ...{ data: { type: 'string' }, output: { type: 'string' } },
    ...{ seed: { type: 'string', default: '0' }, precision: { type: 'string', default: 'fp32' } },
  },
});
const {
  perClass,
  knn: k,
  ...setting
} = JSON.parse(readFileSync(new URL('setting.json', import.meta.url), 'utf8'));

/** The first images of each class, as reference.py takes them. */
function firstOfEachClass(list) {
  const taken = new Map();
  const items = [...list.items].filter(({ label }) => {
    taken.set(label, (taken.get(label) ?? 0) + 1);
    return taken.get(label) <= perClass;
  });
  return { ...list, items };
}

const images = firstOfEachClass(await listImages(path.join(values.data, 'train')));
const val = await listImages(path.join(values.data, 'test'));
const seed = Number(values.seed);
const size = setting.globalCropsSize;
const score = async (model) =>
  (await evaluateKnn(model, { train: images, val, k, resize: size, crop: size })).top1;

const folder = mkdtempSync(path.join(tmpdir(), 'dino-curve-'));
const output = path.join(folder, 'run');
const settings = {
  ...PAPER,
  ...setting,
  arch: 'vit',
  precision: values.precision,
  seed,
  numWorkers: 1,
  device: 'cpu',
  logEvery: 1,
};
const start = performance.now();
const result = await train({ images, output, settings });
const model = await loadModel(output);
const lines = readFileSync(path.join(output, 'metrics.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line));
const done = {
  who: 'dino-ts',
  precision: values.precision,
  seed,
  stepsPerEpoch: Math.floor(images.items.length / setting.batchSize),
  seconds: Math.round((performance.now() - start) / 100) / 10,
  knn: await score(model),
  curve: lines.map(({ loss, teacherEntropy }) => ({ loss, teacherEntropy })),
};
writeFileSync(values.output, JSON.stringify(done));
rmSync(folder, { recursive: true });
console.log(JSON.stringify({ steps: result.steps, seconds: done.seconds, knn: done.knn }));
