/** The rows of the benchmark: what is timed, with which settings, and the target ratio. */
import { stepFlops } from './flops.mjs';
import { cudaThere } from './cuda.mjs';

const PAPER_CROPS = { globalSize: 224, localSize: 96, locals: 8 };

function step(id, title, target, settings, more = {}) {
  const s = { dropPathRate: 0.1, steps: 1, patchSize: 16, ...PAPER_CROPS, ...settings };
  return { id, title, target, unit: 's per step', script: 'step', settings: s, flops: stepFlops(s), ...more };
}

/** A row that reads images; left out without DINO_BENCH_DATA. */
function fromFiles(id, title, target, script, unit, settings) {
  return {
    id,
    title,
    target,
    script,
    unit,
    settings,
    files: true,
    ...(script === 'epoch'
      ? { rounds: 1, note: (turn) => `data wait ${turn.dataWaitPercent.toFixed(1)}%` }
      : {}),
  };
}

/** `embed` with DINOv2's or DINOv3's network, beside its own code and beside transformers. */
function embedBackbone(arch, name, side) {
  const sizes = side > 224 ? { images: 10, batch: 5 } : { images: 40, batch: 20 };
  const own = arch.slice(0, arch.indexOf('_'));
  return [own, 'transformers'].map((by) => ({
    ...fromFiles(
      `embed-${arch.replace('_', '-')}-${side}-${by}`,
      `embed, ${name}, ${side} px, files to features, against ${by === own ? 'its own code' : by}`,
      1.5,
      'embed',
      's per image',
      { arch, side, ...sizes },
    ),
    referenceSettings: { by },
    ...(by === own
      ? {
          peer: {
            python: process.env[`DINO_BENCH_${own.toUpperCase()}`] && process.env.DINO_BENCH_PYTHON,
            script: 'embed',
          },
        }
      : {}),
  }));
}

/** Use only this many images of each class, to get the row in a minute; default: all. */
const perClass = Number(process.env.DINO_BENCH_EPOCH_IMAGES ?? 0);

const cuda = { device: 'cuda:0' };
const needsCuda = { skip: () => !cudaThere() };

/** A step of ViT-Ti/16 with its batch of 16 divided among processes. */
function processes(id, count, threads, more = {}) {
  const settings = { arch: 'vit_tiny', outDim: 65536, batch: 16, processes: count, threads };
  const each = `${count} Gloo process${count === 1 ? '' : 'es'} of ${threads} thread${threads === 1 ? '' : 's'}`;
  const title = `step, ViT-Ti/16, 2x224 + 8x96, K 65,536, B 16 in all: ${each}`;
  return { ...step(id, title, '-', settings), script: 'processes', alone: true, flops: null, ...more };
}

const ownRows = [
  step('vit-s', 'step, ViT-S/16, 2x224 + 8x96, K 65,536, B 8', 1.3, {
    arch: 'vit_small',
    outDim: 65536,
    batch: 8,
  }),
  step('vit-ti', 'step, ViT-Ti/16, 2x224 + 8x96, K 65,536, B 16', 1.3, {
    arch: 'vit_tiny',
    outDim: 65536,
    batch: 16,
  }),
  step('vit-ti4', 'step, ViT-Ti/4, 2x32 + 6x16, K 4,096, B 32', 1.2, {
    arch: 'vit_tiny',
    patchSize: 4,
    globalSize: 32,
    localSize: 16,
    locals: 6,
    outDim: 4096,
    batch: 32,
  }),
  step('resnet50', 'step, ResNet-50, 2x224 + 8x96, K 65,536, B 8', 1.15, {
    arch: 'resnet50',
    outDim: 65536,
    batch: 8,
  }),
  step('vit-s-k1024', 'step, ViT-S/16, 2x224 + 8x96, K 1,024, B 8', 1.15, {
    arch: 'vit_small',
    outDim: 1024,
    batch: 8,
  }),
  step(
    'vit-s-lightly',
    'step, ViT-S/16, 2x224 + 6x96, K 1,024, B 8, against lightly-train 0.18',
    1.1,
    { arch: 'vit_small', outDim: 1024, batch: 8, locals: 6 },
    { peer: { python: process.env.DINO_BENCH_LIGHTLY, script: 'lightly_train_step' } },
  ),
  step(
    'vit-s-compiled',
    'step, ViT-S/16, K 65,536, B 8, against compiled backbones',
    1.25,
    { arch: 'vit_small', outDim: 65536, batch: 8 },
    { referenceSettings: { arch: 'vit_small', compile: true } },
  ),
  step(
    'vit-s-memory',
    'peak memory of a step, ViT-S/16, 2x224 + 8x96, K 65,536, B 16',
    1.8,
    { arch: 'vit_small', outDim: 65536, batch: 16 },
    { unit: 'GiB', rounds: 1, value: (turn) => turn.peakMiB / 1024, flops: null },
  ),
  processes('processes-2-against-1', 2, 1, {
    title: 'step, ViT-Ti/16, B 16 in all: two Gloo processes of one thread, against one process of two',
    target: 0.85,
    against: { processes: 1, threads: 2 },
  }),
  processes('processes-1', 1, 1),
  processes('processes-2', 2, 1),
  processes('processes-4', 4, 1),
  fromFiles('crops', 'ten crops of a 500x375 JPEG, decoding included, one core', 5, 'crops', 's per image', {
    set: 'photos',
    threads: 1,
  }),
  fromFiles('crops-12mp', 'ten crops of a 12-megapixel JPEG, one core', 8, 'crops', 's per image', {
    set: 'large',
    threads: 1,
  }),
  fromFiles('crops-cifar', 'crops 2x32 + 6x16 of a CIFAR file, one core', 5, 'crops', 's per image', {
    set: 'cifar',
    globalSize: 32,
    localSize: 16,
    locals: 6,
    threads: 1,
  }),
  fromFiles(
    'epoch',
    `one epoch, files to weights, ViT-Ti/16, imagenette-mini${perClass > 0 ? `, ${perClass} images per class` : ''}`,
    1.4,
    'epoch',
    's per epoch',
    {
      arch: 'vit_tiny',
      batch: 16,
      outDim: 4096,
      perClass,
    },
  ),
  fromFiles('embed', 'embed, ViT-S/16, 224 px, files to features', 1.5, 'embed', 's per image', {
    images: 128,
    batch: 32,
  }),
  ...embedBackbone('dinov2_vits14', 'DINOv2 ViT-S/14', 224),
  ...embedBackbone('dinov2_vits14', 'DINOv2 ViT-S/14', 518),
  ...embedBackbone('dinov3_vitb16', 'DINOv3 ViT-B/16', 224),
  ...embedBackbone('dinov3_vitb16', 'DINOv3 ViT-B/16', 512),
  {
    id: 'knn',
    title: 'k-NN, 10,000 x 10,000 x 384, features given',
    target: 1.5,
    unit: 's',
    script: 'knn',
    settings: { train: 10000, val: 10000, width: 384 },
  },
  {
    id: 'logistic',
    title: 'logistic regression, C 1, 5,000 x 384, 10 classes, features given, against scikit-learn 1.9',
    target: 1.5,
    unit: 's',
    script: 'logistic',
    settings: { train: 5000, width: 384, classes: 10, c: 1 },
    peer: { python: process.env.DINO_BENCH_SKLEARN, script: 'logistic' },
  },
  fromFiles('start', "from the command typed to the first step's start", 4, 'start', 's', {}),
  ...['bf16', 'fp16'].map((precision) =>
    step(
      `cuda-${precision}`,
      `step on CUDA, ViT-S/16, K 65,536, B 64, ${precision}`,
      1.1,
      { ...cuda, arch: 'vit_small', outDim: 65536, batch: 64, precision, steps: 10 },
      { ...needsCuda, flops: null },
    ),
  ),
];

/** Rows that come a second time, in the fastest precision: `npm run bench -- vit-s vit-s-best ...` Targets are those of AMX. */
const IN_BEST = {
  'vit-s': 1.6,
  'vit-ti': 1.6,
  'vit-ti4': 1.6,
  resnet50: 1.3,
  'vit-s-lightly': 1.5,
  'vit-s-compiled': '-',
  embed: 2,
};

export const rows = ownRows.flatMap((row) =>
  row.id in IN_BEST
    ? [
        row,
        {
          ...row,
          id: `${row.id}-best`,
          title: `${row.title}, in the fastest precision, against ${row.id === 'vit-s-lightly' ? 'its bf16-mixed' : 'torch.autocast in bf16'}`,
          target: IN_BEST[row.id],
          settings: { ...row.settings, precision: 'auto' },
          referenceSettings: { ...row.referenceSettings, precision: 'bf16' },
          note: (turn) => turn.precision,
          bf16: true,
        },
      ]
    : [row],
);
