/** Features of image files: decode, resize, crop, one pass of the network. By default resize 256, crop 224, ViT-S/16. */
import { listImages } from '../dist/data/index.js';
import { featureBatches } from '../dist/eval/features.js';
import { buildBackbone } from '../dist/models/index.js';
import { takesPatchSize } from '../dist/models/architectures.js';
import { manualSeed, setNumThreads } from '../dist/torch/index.js';
import { contestant } from './contestant.mjs';
import { settled } from './precision.mjs';

const c = JSON.parse(process.argv[2]);
const { arch = 'vit_small', side = 224 } = c;
setNumThreads(c.threads);
manualSeed(0);
const backbone = buildBackbone({ arch, ...(takesPatchSize(arch) ? { patchSize: 16 } : {}) }).eval();
for (const parameter of backbone.parameters()) parameter.requiresGrad = false;
const { items } = await listImages(`${c.data}/imagenette-mini/val`);
const chosen = [...items].filter((_, i) => i % Math.floor(items.length / c.images) === 0).slice(0, c.images);

/** Images whose features are computed. */
async function embed(precision) {
  let done = 0;
  const options = {
    resize: Math.round((side * 256) / 224),
    crop: side,
    batchSize: c.batch,
    device: 'cpu',
    kind: 'cls',
    layers: 1,
    numWorkers: 1,
    precision,
  };
  for await (const batch of featureBatches(backbone, chosen, options)) done += batch.indices.length;
  return done;
}

const precision = await settled(c.precision, 'cpu', embed);
await contestant(async () => ({ units: await embed(precision), precision }));
