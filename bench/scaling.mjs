/**
 * The model behind docs/scaling.md: step time, traffic, storage and cost of training on 1 to 1,024 GPUs, from the arithmetic
 * of a step (flops.mjs) and the assumptions below. This script makes the tables in the page:
 *
 *   node bench/scaling.mjs           prints them
 *   node bench/scaling.mjs --write   writes them to docs/scaling.md
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { stepFlops } from './flops.mjs';

/** Everything that is assumed, not computed; docs/scaling.md says where each value comes from. */
export const ASSUMED = {
  // share of the tensor cores' peak that a whole step reaches: V100 fitted to DINO's table 8, A100 between that and DINOv2
  v100: { peak: 125e12, dollars: null },
  a100: { peak: 312e12, dollars: 2, share: { vit_small: 0.15, vit_base: 0.25, vit_large: 0.35 } },
  largestBatch: 4096, // images per step, over all GPUs; DINO used 1,024, DINOv2 3,072
  batchPerGpu: 64,
  halfSpeedBatch: 8, // images per GPU at which half of the share above remains, due to kernel launches and small products
  perNode: 8,
  nvlink: 230e9, // bytes per second of a ring within a machine, A100
  network: 50e9, // bytes per second in and out of a machine: four links of 100 Gbit/s
  roundSeconds: 20e-6, // latency of a round of a collective between machines
  bucketBytes: 25e6,
  hidden: 0.5, // share of the step's computation that overlaps with sending gradients: the backward pass without its beginning
  secondsPerImage: 4.87e-3, // of one core, ten crops of a 500x375 JPEG: docs/performance.md
  coresPerGpu: 10,
  imageBytes: 110e3, // ImageNet: 138 GB of 1.28 M training images
  images: 1_281_167,
  epochs: 300,
  storage: 5e9, // bytes per second of a shared file system
  filesPerSecond: 50_000, // files that a shared file system opens per second
  disk: 1e9, // bytes per second that rank 0 writes
  copy: 5e9, // bytes per second from the device into pageable memory
};

const MODELS = {
  vit_small: { label: 'ViT-S/16', width: 384, depth: 12 },
  vit_base: { label: 'ViT-B/16', width: 768, depth: 12 },
  vit_large: { label: 'ViT-L/16', width: 1024, depth: 24 },
};
const PAPER = { patchSize: 16, globalSize: 224, localSize: 96, locals: 10, outDim: 65536 };
const SIZES = [1, 8, 16, 64, 256, 1024];

/** Parameters of backbone and head (position embeddings for 224 pixels). */
export function parameters(arch) {
  const { width: d, depth } = MODELS[arch];
  const block = 12 * d * d + 13 * d; // qkv, projection, perceptron with biases; two norms
  const backbone = depth * block + 3 * 256 * d + d + 198 * d + 2 * d; // patches, class token and 197 positions, last norm
  const head = d * 2048 + 2048 * 2048 + 2048 * 256 + 2 * 2048 + 256 + 256 * PAPER.outDim + PAPER.outDim;
  return { backbone, head };
}

export const flopsOfImage = (arch, crops = {}) => stepFlops({ arch, ...PAPER, ...crops, batch: 1 });

/** One row: a model on this many GPUs. */
export function plan(arch, gpus, a = ASSUMED) {
  const batch = Math.min(a.batchPerGpu * gpus, a.largestBatch);
  const own = batch / gpus;
  const share = (a.a100.share[arch] * own) / (own + a.halfSpeedBatch);
  const compute = (own * flopsOfImage(arch)) / (a.a100.peak * share);
  const { backbone, head } = parameters(arch);
  const gradient = 4 * (backbone + head);
  const [inside, machines] = [Math.min(gpus, a.perNode), Math.ceil(gpus / a.perNode)];
  const ring = (n) => (2 * (n - 1)) / n;
  const rounds = 2 * Math.ceil(Math.log2(Math.max(1, machines))) * Math.ceil(gradient / a.bucketBytes);
  const reduce =
    (ring(inside) * gradient) / a.nvlink + (ring(machines) * gradient) / a.network + rounds * a.roundSeconds;
  const exposed = Math.max(0, reduce - a.hidden * compute);
  const step = compute + exposed;
  const perSecond = batch / step;
  const hours = (a.images * a.epochs) / perSecond / 3600;
  const checkpoint = 16 * (backbone + head);
  return {
    ...{
      arch,
      gpus,
      batch,
      own,
      share,
      compute,
      gradient,
      reduce,
      exposed,
      step,
      perSecond,
      hours,
      checkpoint,
    },
    cores: (perSecond * a.secondsPerImage) / gpus, // a GPU
    read: perSecond * a.imageBytes,
    dollars: hours * gpus * a.a100.dollars,
    copy: checkpoint / a.copy,
    write: checkpoint / a.disk,
  };
}

/** What reaches its limit first, in words. */
export function firstToBreak(row, a = ASSUMED) {
  const limits = [
    [row.cores / a.coresPerGpu, `loader: ${row.cores.toFixed(1)} cores per GPU`],
    [row.read / a.storage, `storage: ${(row.read / 1e9).toFixed(1)} GB/s`],
    [row.perSecond / a.filesPerSecond, `files: ${Math.round(row.perSecond)} opened per second`],
    [row.exposed / (0.1 * row.step), `network: ${percent(row.exposed / row.step)} of the step waits for it`],
    [a.halfSpeedBatch / row.own, `batch: ${row.own} images per GPU`],
  ];
  limits.sort((x, y) => y[0] - x[0]);
  const [worst, what] = limits[0];
  return `${what}${worst > 1 ? ' (over)' : ` (at ${percent(worst)} of the limit)`}`;
}

const percent = (share) => `${(100 * share).toFixed(0)}%`;
const number = (value, digits = 3) =>
  value >= 1000
    ? Math.round(Number(value.toPrecision(digits))).toLocaleString('en-US')
    : String(Number(value.toPrecision(digits)));
const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** Times reported by others, against the model with one fitted number: the V100's share. */
export function checks() {
  const hours = (gpus, epochs, crops, share) =>
    (ASSUMED.images * epochs * flopsOfImage('vit_small', { ...crops, wholeLast: true })) /
    (gpus * ASSUMED.v100.peak * share) /
    3600;
  const share = hours(16, 300, { locals: 10 }, 1) / 72.6;
  const reported = [
    ['2x224 + 10x96, 300 epochs, 16 V100', 'table 8', 16, 300, 10, 72.6],
    ['2x224 + 6x96, 300 epochs, 16 V100', 'table 8', 16, 300, 6, 60.7],
    ['2x224 + 2x96, 300 epochs, 16 V100', 'table 8', 16, 300, 2, 51],
    ['2x224, 300 epochs, 16 V100', 'table 8', 16, 300, 0, 45.9],
    ['2x224 + 8x96, 300 epochs, 16 GPUs', "repository's README, 2.6 days", 16, 300, 8, 62.4],
    ['2x224 + 8x96, 100 epochs, 8 GPUs', "repository's README, 1.75 days", 8, 100, 8, 42],
  ];
  const rows = reported.map(([what, where, gpus, epochs, locals, said]) => {
    const ours = hours(gpus, epochs, { locals }, share);
    return [
      what,
      where,
      `${said} h`,
      `${number(ours)} h`,
      locals === 10 ? 'fitted' : percent(ours / said - 1),
    ];
  });
  return { share, rows };
}

/** DINOv2's ViT-g/14: 22,000 A100 hours (its model card) for 625,000 steps of 3,072 images, 2x224 + 8x98. */
export function dinov2Share() {
  const [width, depth] = [1536, 40];
  const forward = (size) => {
    const tokens = (size / 14) ** 2 + 1;
    return depth * (tokens * 12 * width ** 2 + 2 * tokens ** 2 * width);
  };
  const student = 2 * forward(224) + 8 * forward(98);
  const flops = 2 * (3 * student + 2 * forward(224)) * 3072 * 625_000;
  return flops / (22_000 * 3600 * ASSUMED.a100.peak);
}

/** Gloo processes on a machine with two cores, ViT-Ti/16, 16 images in all (docs/performance.md): measured, and by the model. */
export function gloo() {
  const gradient = 4 * 27.4e6;
  const compute = { '1 x 1': 6.85, '1 x 2': 4.25 };
  // a core each; gradients move over the loopback at an assumed 1.5 GB/s, half of it during the backward pass
  const predicted = (n) =>
    (compute['1 x 1'] * Math.max(1, n / 2)) / n + ((2 * (n - 1)) / n) * (gradient / 1.5e9) * 0.5;
  return [
    ['1 process, 1 thread', '6.85', 'the base'],
    ['1 process, 2 threads', '4.25', ''],
    ['2 processes, 1 thread each', '3.78 to 4.10', number(predicted(2))],
    ['4 processes, 1 thread each, on 2 cores', '4.50', number(predicted(4))],
  ];
}

/** The page's tables by name. */
export function tables() {
  const rows = Object.keys(MODELS).flatMap((arch) => SIZES.map((gpus) => plan(arch, gpus)));
  const each = (columns) => rows.map((row) => [MODELS[row.arch].label, row.gpus, ...columns(row)]);
  const { share, rows: checked } = checks();
  return {
    models: table(
      [
        'model',
        'parameters, backbone',
        'head',
        'operations per image',
        'gradient',
        'checkpoint',
        'copy off the device',
        'write',
      ],
      Object.entries(MODELS).map(([arch, { label }]) => {
        const { backbone, head } = parameters(arch);
        const { gradient, checkpoint, copy, write } = plan(arch, 1);
        return [
          label,
          `${(backbone / 1e6).toFixed(1)} M`,
          `${(head / 1e6).toFixed(1)} M`,
          `${(flopsOfImage(arch) / 1e9).toFixed(0)} G`,
          `${(gradient / 1e6).toFixed(0)} MB`,
          `${(checkpoint / 1e9).toFixed(2)} GB`,
          `${number(copy, 2)} s`,
          `${number(write, 2)} s`,
        ];
      }),
    ),
    steps: table(
      [
        'model',
        'GPUs',
        'batch',
        'compute',
        'all-reduce',
        'of it waited for',
        'step',
        'images/s',
        '300 epochs',
        'cost',
      ],
      each((r) => [
        r.batch,
        `${number(1000 * r.compute)} ms`,
        `${number(1000 * r.reduce, 2)} ms`,
        `${number(1000 * r.exposed, 2)} ms`,
        `${number(1000 * r.step)} ms`,
        number(r.perSecond),
        `${number(r.hours, 2)} h`,
        `$${number(r.dollars, 2)}`,
      ]),
    ),
    breaks: table(
      ['model', 'GPUs', 'loader cores per GPU', 'storage reads', 'files per second', 'nearest to its limit'],
      each((r) => [
        number(r.cores, 2),
        `${number(r.read / 1e6, 2)} MB/s`,
        number(r.perSecond, 2),
        firstToBreak(r),
      ]),
    ),
    checks: table(['training of ViT-S/16', 'where', 'reported', 'model', 'off by'], checked),
    shares: table(
      ['what', 'share of the peak'],
      [
        ['DINO, ViT-S/16 on V100, fitted to table 8', percent(share)],
        ['DINOv2, ViT-g/14 on A100, all blocks counted', percent(dinov2Share())],
        [
          'the same, with its stochastic depth of 0.4 skipping blocks of the student',
          percent(dinov2Share() * 0.66),
        ],
        ...Object.entries(ASSUMED.a100.share).map(([arch, s]) => [
          `assumed here: ${MODELS[arch].label} on A100`,
          percent(s),
        ]),
      ],
    ),
    gloo: table(['processes', 's per step, measured', 'model'], gloo()),
  };
}

/** Inserts the tables into a page, between `<!-- table:NAME -->` and `<!-- end -->`. */
export function fill(page) {
  return Object.entries(tables()).reduce(
    (text, [name, content]) =>
      text.replace(
        new RegExp(`(<!-- table:${name} -->\n)[^]*?(\n<!-- end -->)`),
        (_, before, after) => `${before}\n${content}\n${after}`,
      ),
    page,
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = fileURLToPath(new URL('../docs/scaling.md', import.meta.url));
  if (process.argv.includes('--write')) writeFileSync(file, fill(readFileSync(file, 'utf8')));
  else for (const [name, content] of Object.entries(tables())) console.log(`${name}\n${content}\n`);
}
