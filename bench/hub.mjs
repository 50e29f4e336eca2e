/**
 * How many images a second each official network takes here: writes src/weights/hub-speed.ts, which `dino hub` prints.
 *
 *   node bench/hub.mjs [NAME ...]      these architectures (vit_small/16, dinov2_vits14, ...); default: all that fit
 *
 * Random weights, images of 224 pixels in memory, float32, batches of 8, all cores: the median of five batches, or of those
 * that fit into half a minute. Written after each network, so that a measurement that was stopped goes on with the names that
 * are left.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { buildBackbone } from '../dist/models/index.js';
import { inferenceMode, randn, scope } from '../dist/torch/index.js';
import { hubModels } from '../dist/weights/hub.js';
import { dinoV3HubModels } from '../dist/weights/hub-dinov3.js';
import { hubSpeed, networkOf } from '../dist/weights/hub-speed.js';

const FILE = fileURLToPath(new URL('../src/weights/hub-speed.ts', import.meta.url));
const BATCH = 8;
const TURNS = 5;
const MOST_SECONDS = 30;
/** Random numbers are drawn for as much again as the weights. */
const mostMegabytes = os.totalmem() / 1e6 / 3;

/** @param imagesPerSecond - By network. */
function write(imagesPerSecond) {
  const source = readFileSync(FILE, 'utf8');
  const begin = source.indexOf('export const hubSpeed');
  const value = {
    machine: `${os.availableParallelism()} cores of ${os.cpus()[0].model.trim()}`,
    date: new Date().toISOString().slice(0, 10),
    imagesPerSecond,
  };
  writeFileSync(
    FILE,
    `${source.slice(0, begin)}export const hubSpeed: HubSpeed = ${JSON.stringify(value, null, 2)};\n`,
  );
}

const wanted = process.argv.slice(2);
const networks = new Map();
for (const model of [...hubModels, ...dinoV3HubModels])
  if (model.megabytes < mostMegabytes) networks.set(networkOf(model), model);
const speeds = { ...hubSpeed.imagesPerSecond };
for (const [name, { arch, patchSize }] of networks) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const backbone = buildBackbone({ arch, ...(patchSize && arch.startsWith('vit_') ? { patchSize } : {}) });
  backbone.eval();
  const seconds = inferenceMode(() =>
    scope(() => {
      const images = randn([BATCH, 3, 224, 224]);
      const turn = () => {
        const start = performance.now();
        scope(() => backbone.forward(images).sum().item());
        return (performance.now() - start) / 1000;
      };
      turn(); // the first one allocates
      const found = [turn()];
      while (found.length < TURNS && found.reduce((a, b) => a + b) < MOST_SECONDS) found.push(turn());
      return found;
    }),
  );
  const median = seconds.sort((a, b) => a - b)[seconds.length >> 1];
  speeds[name] = Number((BATCH / median).toPrecision(2));
  console.error(`${name}: ${speeds[name]} images/s`);
  for (const parameter of backbone.parameters()) parameter.dispose();
  write(speeds);
}
