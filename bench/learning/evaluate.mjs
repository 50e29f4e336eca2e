/**
 * Reads checkpoints by k-NN, in a process of its own: `node evaluate.mjs REQUEST.json` prints JSON lines, one for each of
 * `points` and then `{"done": true}`. The request: `images` (the images.json of data.mjs), `whole` (read the whole image
 * at the network's side, in place of its centre) and `points`, each with a `name` and one of
 *
 *   weights              what loadModel() takes
 *   untrained            the same network as these weights, initialized with `seed`; read once for all recipes that have
 *                        it, and kept in the file `known` of the request
 *   features             a folder with DOMAIN-train.npy and DOMAIN-val.npy, rows in the order of images.json
 *   baseline, side       pixels or hog
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { hogFeatures, pixelFeatures } from '../../dist/eval/baselines.js';
import { appendLine, readLines } from '../../dist/files/json-lines.js';
import { readNpy } from '../../dist/files/npy.js';
import { loadModel } from '../../dist/index.js';
import { buildBackbone } from '../../dist/models/index.js';
import { manualSeed } from '../../dist/torch/index.js';
import { backboneOptions } from '../../dist/weights/architecture.js';
import { Model } from '../../dist/model.js';
import { hogReadings, meanReadings, pixelReadings, readings } from './readings.mjs';

const request = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { pairs } = JSON.parse(readFileSync(request.images, 'utf8'));

/** A network's features of a list: rows and the labels of those that can be read. */
async function embedded(model, list) {
  const items = list.map(([file, label]) => ({ path: file, label }));
  const { imgSize } = model.architecture;
  const sizes = request.whole ? { resize: imgSize, crop: imgSize } : {};
  const found = await model.embed({ items, classes: null }, { batchSize: 128, ...sizes });
  return { rows: found.features, labels: found.labels };
}

function fromFile(folder, name, list) {
  const file = path.join(folder, `${name}.npy`);
  const found = readNpy(readFileSync(file));
  if (found === null || found.shape[0] !== list.length)
    throw new Error(
      `${file}: expected ${list.length} rows of float32, got ${found?.shape.join(' x ') ?? 'another file'}`,
    );
  return { rows: found.values, labels: list.map(([, label]) => label) };
}

async function baseline(kind, size, list) {
  const items = list.map(([file, label]) => ({ path: file, label }));
  const table = await (kind === 'hog' ? hogFeatures : pixelFeatures)(items, { size });
  return { rows: table.features, labels: table.indices.map((index) => items[index].label) };
}

/** Of the network that a point has untrained; null for other points. */
function architectureOf({ untrained }) {
  if (untrained === undefined) return null;
  const model = loadModel(untrained, { device: 'cpu' });
  model.dispose();
  return model.architecture;
}

function modelOf(point, architecture) {
  if (architecture === null)
    return point.weights === undefined ? null : loadModel(point.weights, { device: 'cpu' });
  manualSeed(point.seed);
  const backbone = buildBackbone(backboneOptions(architecture));
  backbone.eval();
  return new Model(backbone, architecture, 'untrained', 'cpu');
}

for (const point of request.points) {
  const architecture = architectureOf(point);
  // an untrained network's readings depend on nothing else
  const key = architecture && JSON.stringify([request.images, request.whole, architecture, point.seed]);
  const known = key === null || !existsSync(request.known) ? [] : readLines(request.known);
  const line = known.find((each) => each.key === key);
  if (line !== undefined) {
    console.log(JSON.stringify({ name: point.name, ...line.found }));
    continue;
  }
  const model = modelOf(point, architecture);
  const by = {};
  for (const { name, train, val } of pairs) {
    const read = (part, list) => {
      if (model !== null) return embedded(model, list);
      return point.features === undefined
        ? baseline(point.baseline, point.side, list)
        : fromFile(point.features, `${name}-${part}`, list);
    };
    const score = { pixels: pixelReadings, hog: hogReadings }[point.baseline] ?? readings;
    by[name] = score(await read('train', train), await read('val', val));
  }
  model?.dispose();
  const all = Object.values(by);
  const problem = all.find((each) => each.problem !== undefined)?.problem;
  const remarks = [...new Set(all.flatMap((each) => each.remarks ?? []))];
  const found = {
    ...meanReadings(by),
    ...(all.length > 1 ? { by } : {}),
    ...(problem === undefined ? {} : { problem }),
    ...(remarks.length === 0 ? {} : { remarks }),
  };
  if (key !== null) appendLine(request.known, { key, found });
  console.log(JSON.stringify({ name: point.name, ...found }));
}
console.log(JSON.stringify({ done: true }));
