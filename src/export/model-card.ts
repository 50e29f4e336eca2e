/**
 * A model card: the README.md of a model, in the format that Hugging Face's hub reads (huggingface.co/docs/hub/model-cards).
 * It says how many images the model was trained on and nothing that names them or a folder of this machine. What comes from
 * a run may be a stranger's: numbers are checked, and texts are those of this package's own tables.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { CheckpointError, DataError } from '../errors.js';
import { writeFileWhole } from '../files/atomic-file.js';
import { readGuarded, readTextIfThere, SMALL_FILE_BYTES } from '../files/guarded.js';
import { readLines } from '../files/json-lines.js';
import { makeFolderOf } from '../files/output.js';
import {
  checkCall,
  count,
  filePath,
  oneOf,
  optionsOf,
  pixels,
  text,
  yesOrNo,
} from '../plain/check-options.js';
import { JUDGE_MEASURE, MEASURE_NAMES, showMeasure } from '../plain/quality.js';
import { NORMALIZATIONS } from '../models/dinov3-architectures.js';
import {
  evaluationsPath,
  metricsPath,
  readRunConfig,
  skippedPath,
  skippedPlaceOf,
} from '../run/run-folder.js';
import type { TrainSettings } from '../run/settings.js';
import { packageVersion } from '../version.js';
import { describeWeights, type WeightsDescription } from '../weights/describe.js';
import type { NetworkOptions } from '../weights/network.js';
import {
  CARD_FORMATS,
  type CardFormat,
  type CardSizeOptions,
  type CardSizes,
  cardSizes,
} from './card-sizes.js';
import { type Origin, originOf } from './model-origin.js';

export interface ModelCardOptions
  extends Pick<NetworkOptions, 'checkpointKey' | 'numHeads' | 'normalization'>, CardSizeOptions {
  /** What it describes; default `run`: the weights as they are. */
  format?: CardFormat;
  /** The exported file's name, for the examples. */
  file?: string;
}

const cardOptions = optionsOf<ModelCardOptions>(
  {},
  {
    ...{ checkpointKey: text, numHeads: count(1), normalization: oneOf(NORMALIZATIONS) },
    ...{ format: oneOf(CARD_FORMATS), file: text },
    ...{ imageSize: pixels, resize: count(1), dynamicSize: yesOrNo },
  },
);

/** The first line of a card's text behind its metadata: by it an earlier card is recognized, and whether it was changed. */
const markOf = (hash: string): string =>
  `<!-- model card by dino-ts (${hash}): written again by the next export, unless you change something in it -->`;
const MARK = /<!-- model card by dino-ts \(([0-9a-f]*)\)/;

/** Hash of a card whose mark has none yet. Line ends don't count: git may change them. */
const hashOf = (card: string): string =>
  createHash('sha256').update(card.replaceAll('\r\n', '\n')).digest('hex').slice(0, 16);

/** Whether a README.md is a card as it was written. */
function isUnchanged(readme: string): boolean {
  const hash = MARK.exec(readme)?.[1];
  return hash !== undefined && hash === hashOf(readme.replace(`(${hash})`, '()'));
}

const CURVE_ROWS = 8;

// -------------------------------------------------------------------------------------------------- what is known

const percent = z.number().min(0).max(100);
const finite = z.number();
const measures = z.partialRecord(z.enum(MEASURE_NAMES), finite.nullable());
const knnSchema = z.object({ top1: z.record(z.string().regex(/^\d{1,6}$/), percent) });
const linearSchema = z.object({ top1: percent, classes: z.int().min(2) });
const qualitySchema = z.object({
  measures,
  pixels: measures,
  untrained: measures.nullable(),
  images: z.int().min(1),
});
const stepSchema = z.object({ step: z.int().min(0), loss: finite, teacherEntropy: finite.optional() });
const judgeSchema = z.object({
  step: z.int().min(0),
  judge: z.object({
    measure: z.literal(JUDGE_MEASURE), // older versions judged by another
    measures,
    score: finite,
    untrained: finite,
    pixels: finite,
    images: z.int().min(1),
    isBest: z.boolean(),
  }),
});

/** The weights that an evaluation measured. */
const measuredSchema = z.object({ weights: z.string().optional(), step: z.int().min(0).nullish() });

/** Weights of a run: the file, and after how many steps. */
interface OfRun {
  file: string;
  step: number | null;
}

/** Reads the evaluations that are kept with a run. */
class Evaluations {
  /** Names of those of other weights of the run, whose numbers don't describe these. */
  readonly ofOthers: string[] = [];

  constructor(
    readonly run: string,
    readonly own: OfRun,
  ) {}

  /** Null when there is none of these weights, or it is not as this package writes it. */
  read<T>(name: string, schema: z.ZodType<T>): T | null {
    const file = path.join(evaluationsPath(this.run), `${name}.json`);
    try {
      if (!existsSync(file)) return null;
      const bytes = readGuarded(file, { within: this.run, maxBytes: SMALL_FILE_BYTES });
      const value: unknown = JSON.parse(bytes.toString('utf8'));
      const kept = schema.parse(value);
      const { weights, step } = measuredSchema.parse(value);
      // by step and kind: checkpoints/best holds copies
      const isOwn = step === this.own.step && path.basename(weights ?? '') === path.basename(this.own.file);
      if (weights === undefined || isOwn) return kept;
      this.ofOthers.push(name);
      return null;
    } catch {
      return null;
    }
  }
}

interface Training {
  images: number;
  skipped: number;
  processes: number;
  step: number | null;
  settings: TrainSettings;
  curve: z.infer<typeof stepSchema>[];
  judged: z.infer<typeof judgeSchema> | null;
  knn: z.infer<typeof knnSchema> | null;
  linear: z.infer<typeof linearSchema> | null;
  quality: z.infer<typeof qualitySchema> | null;
  /** Names of evaluations that are kept of other weights of the run. */
  ofOthers: string[];
}

/** Evenly spread over the list, its first and last among them. */
function spread<T>(list: readonly T[], size: number): T[] {
  if (list.length <= size) return [...list];
  return Array.from({ length: size }, (_, i) => list[Math.round((i * (list.length - 1)) / (size - 1))]!);
}

function trainingOf(run: string, own: OfRun): Training {
  const { step } = own;
  const evaluations = new Evaluations(run, own);
  const { imageCount, processes, settings } = readRunConfig(run);
  const lines = readLines(metricsPath(run), run).filter(
    (line) => step === null || typeof line['step'] !== 'number' || line['step'] <= step,
  );
  const rows = lines.flatMap((line) => stepSchema.safeParse(line).data ?? []);
  const judged = lines.flatMap((line) => judgeSchema.safeParse(line).data ?? []);
  return {
    images: imageCount,
    skipped: new Set(readLines(skippedPath(run), run).map(skippedPlaceOf)).size,
    ...{ processes, step, settings },
    curve: spread(rows, CURVE_ROWS),
    judged: judged.at(-1) ?? null,
    knn: evaluations.read('knn', knnSchema),
    linear: evaluations.read('linear', linearSchema),
    quality: evaluations.read('quality', qualitySchema),
    ofOthers: evaluations.ofOthers,
  };
}

// ---------------------------------------------------------------------------------------------------------- text

const number = (value: number): string =>
  Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
const grouped = (value: number): string => value.toLocaleString('en-US');
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** Settings that say how a model was trained; none of them is a path. */
const SETTINGS: readonly (keyof TrainSettings)[] = [
  ...(['epochs', 'steps', 'batchSize', 'optimizer', 'lr', 'minLr', 'warmupEpochs'] as const),
  ...([
    'weightDecay',
    'weightDecayEnd',
    'clipGrad',
    'loss',
    'outDim',
    'teacherTemp',
    'momentumTeacher',
  ] as const),
  ...([
    'globalCropsSize',
    'globalCropsScale',
    'localCropsNumber',
    'localCropsSize',
    'localCropsScale',
  ] as const),
  ...(['dropPathRate', 'patchDropRate', 'patchInit', 'lowResEpochs'] as const),
  ...(['koleoWeight', 'precision', 'seed'] as const),
];

function settingsTable(settings: TrainSettings): string {
  const rows = SETTINGS.flatMap((name) => {
    const value = settings[name];
    if (value === undefined) return [];
    const shown = Array.isArray(value) ? value.map((part) => number(part as number)).join(', ') : value;
    return [[`\`${name}\``, typeof shown === 'number' ? number(shown) : String(shown)]];
  });
  return table(['setting', 'value'], rows);
}

function qualityText({ quality, judged, knn, linear, ofOthers }: Training): string[] {
  const lines: string[] = [];
  const without = quality ?? (judged === null ? null : { ...judged.judge, measures: judged.judge.measures });
  if (without !== null) {
    const rows = MEASURE_NAMES.filter((name) => typeof without.measures[name] === 'number').map((name) => [
      name,
      showMeasure(name, without.measures[name] ?? null),
    ]);
    lines.push(`Without labels, on ${grouped(without.images)} images:`, table(['measure', 'value'], rows));
    if (quality === null && judged !== null) {
      const { untrained, pixels } = judged.judge;
      lines.push(
        `\`${JUDGE_MEASURE}\` is how many of an image's five nearest images stay the same in another view of it. The untrained ` +
          `network has ${showMeasure(JUDGE_MEASURE, untrained)}, raw pixels ${showMeasure(JUDGE_MEASURE, pixels)}.`,
      );
    }
  }
  const labelled: string[][] = [];
  if (knn !== null)
    for (const [k, top1] of Object.entries(knn.top1))
      labelled.push([`k-NN, k = ${k}`, `${top1.toFixed(1)}%`]);
  if (linear !== null)
    labelled.push([`linear classifier, ${linear.classes} classes`, `${linear.top1.toFixed(1)}%`]);
  if (labelled.length > 0)
    lines.push('With labels, on images of the author:', table(['evaluation', 'top-1'], labelled));
  if (lines.length === 0)
    lines.push(
      'Not measured. `dino eval quality` measures features without labels, `dino eval knn` with them.',
    );
  if (ofOthers.length > 0) {
    lines.push(
      `The results of these evaluations that are kept with the run are of other weights and not shown here: ${ofOthers.join(', ')}.`,
    );
  }
  return lines;
}

const fence = (language: string, code: string): string => `\`\`\`${language}\n${code}\n\`\`\``;

/** How to load it, in each ecosystem that reads this format. */
function usage(
  format: CardFormat,
  file: string | undefined,
  { architecture }: WeightsDescription,
  { height, width, text }: CardSizes,
): string[] {
  const weights = file ?? (format === 'run' ? 'run' : format === 'pth' ? 'model.pth' : 'model.safetensors');
  const ours = (name: string): string[] => [
    'Node.js, with [dino-ts](https://www.npmjs.com/package/dino-ts):',
    fence(
      'js',
      `import { loadModel } from 'dino-ts';\n\nusing model = loadModel('${name}');\nconst { features } = await model.embed('photos'); // (images, ${architecture.embedDim})`,
    ),
  ];
  if (format === 'transformers')
    return [
      'transformers.js:',
      fence(
        'js',
        "import { pipeline } from '@huggingface/transformers';\n\nconst extract = await pipeline('image-feature-extraction', 'USER/MODEL', { dtype: 'fp32' });\nconst feature = await extract('cat.png', { pool: true });",
      ),
    ];
  if (format === 'onnx') {
    const name = file ?? 'model.onnx';
    return [
      `Images are ${text} pixels (bicubic), and normalized with the mean and deviation in the file's metadata.`,
      'Python, with onnxruntime:',
      fence(
        'python',
        `import onnxruntime\n\nsession = onnxruntime.InferenceSession('${name}')\nclass_token = session.run(None, {'pixel_values': pixels})[0]  # (B, 3, ${height}, ${width}) to (B, ${architecture.embedDim})`,
      ),
      'Node.js, with onnxruntime-node:',
      fence(
        'js',
        `import { InferenceSession, Tensor } from 'onnxruntime-node';\n\nconst session = await InferenceSession.create('${name}');\nconst outputs = await session.run({ pixel_values: new Tensor('float32', pixels, [1, 3, ${height}, ${width}]) });`,
      ),
    ];
  }
  const python =
    format === 'pth'
      ? [
          "Python, with PyTorch (the names are those of facebookresearch/dino's and timm's models):",
          fence('python', `import torch\n\nstate = torch.load('${weights}', weights_only=True)`),
        ]
      : format === 'safetensors'
        ? [
            'Python, with safetensors (the names are the original repository’s):',
            fence('python', `from safetensors.torch import load_file\n\nstate = load_file('${weights}')`),
          ]
        : [
            'For other programs, `dino export` writes ONNX, transformers.js, PyTorch and safetensors files:',
            fence('sh', 'npx dino export run --format onnx --output model.onnx'),
          ];
  return [...ours(weights), ...python];
}

/** What it began from, and under which licence that is. */
function originText(origin: Origin | null, wentOn: boolean): string[] {
  if (origin === null)
    return [
      wentOn
        ? 'It went on from the weights of another training, which began from random ones.'
        : 'It was trained from random weights.',
    ];
  if (origin.licence === null)
    return [
      'It began from other weights, whose licence is not known here. It may bind this model, too: say which they were before you publish it.',
    ];
  const { name, licence } = origin;
  return [
    `It began from ${name === null ? 'weights' : `the official weights [${name.model}](https://github.com/${name.repository})`} under ${
      typeof licence === 'string'
        ? `the ${licence} licence`
        : `the [${licence.name}](${licence.link}), which also binds what is made from them`
    }.`,
  ];
}

/** Lines of the card's metadata. All values are numbers or texts of this file, so that nothing needs quoting. */
function metadata(
  format: CardFormat,
  title: string,
  origin: Origin | null,
  training: Training | null,
): string[] {
  const library = { transformers: 'transformers.js', onnx: 'onnx' } as Partial<Record<CardFormat, string>>;
  const lines = [
    `library_name: ${library[format] ?? 'dino-ts'}`,
    'pipeline_tag: image-feature-extraction',
    'tags:',
    ...['dino', 'self-supervised-learning', 'image-feature-extraction', 'dino-ts'].map((tag) => `- ${tag}`),
  ];
  const licence = origin?.licence ?? null;
  if (licence === 'Apache-2.0') lines.push('license: apache-2.0');
  else if (licence !== null && typeof licence === 'object')
    lines.push('license: other', 'license_name: dinov3-license', `license_link: ${licence.link}`);
  const results: [string, number][] = [];
  const knn = training?.knn?.top1;
  if (knn !== undefined)
    for (const [k, top1] of Object.entries(knn)) results.push([`k-NN top-1, k = ${k}`, top1]);
  if (training?.linear) results.push(['linear top-1', training.linear.top1]);
  if (results.length > 0) {
    lines.push(
      ...['model-index:', `- name: ${title}`, '  results:'],
      ...['  - task:', '      type: image-classification'],
      ...['    dataset:', '      name: images of the author', '      type: imagefolder'],
      '    metrics:',
      ...results.flatMap(([name, value]) => [
        '    - type: accuracy',
        `      name: ${JSON.stringify(name)}`,
        `      value: ${number(value)}`,
      ]),
    );
  }
  return lines;
}

/**
 * The model card of weights: Markdown with Hugging Face's metadata. A run's card has its settings, its curve and its
 * evaluations; a lone file's says what the file says.
 *
 * @throws CheckpointError when there are no weights or they can't be read; ConfigError for wrong arguments; DataError when a
 *   log of the run is damaged.
 */
export function modelCard(weights: string, options: ModelCardOptions = {}): string {
  checkCall('modelCard()', ['weights', filePath, weights], ['options', cardOptions, options]);
  const { format = 'run', file: named, imageSize, resize, dynamicSize, ...network } = options;
  // it stands in examples of code
  const file = named !== undefined && /^[\w][\w. -]*$/.test(named) ? named : undefined;
  const description = describeWeights(weights, network);
  const { architecture: a, backboneParameters, run } = description;
  const training = run === null ? null : trainingOf(run.folder, { file: description.file, step: run.step });
  const { init, resumeFrom } = training?.settings ?? {};
  const began = training === null ? description.file : (init ?? resumeFrom);
  const origin = began === undefined ? null : originOf(began, a.arch); // null: from random weights
  const title = training === null ? `${a.arch}` : `${a.arch} trained with DINO`;
  const sizes = cardSizes(format, a, { imageSize, resize, dynamicSize });
  const facts = [
    ['architecture', a.arch],
    ['feature', `${a.embedDim} numbers`],
    ['parameters', `${(backboneParameters / 1e6).toFixed(2)} M (backbone)`],
    ...(a.patchSize > 1 ? [['patch', `${a.patchSize} pixels`]] : []),
    ['images', `${sizes.text}; ${sizes.others}`],
  ];
  const data =
    training === null
      ? [
          'The file does not say what it was trained on.',
          ...(origin?.licence == null ? [] : originText(origin, false)),
        ]
      : [
          `${grouped(training.images)} images without labels` +
            (training.skipped > 0 ? ` (${grouped(training.skipped)} of them could not be read)` : '') +
            (training.step === null ? '' : `; these are the weights after ${grouped(training.step)} steps`) +
            (training.processes > 1 ? ` in ${training.processes} processes` : '') +
            `. The method is [DINO](https://arxiv.org/abs/2104.14294), self-distillation with no labels.`,
          ...originText(origin, began !== undefined),
          settingsTable(training.settings),
        ];
  const curve =
    training === null || training.curve.length === 0
      ? []
      : [
          '### Curve',
          table(
            ['step', 'loss', 'teacher entropy'],
            training.curve.map(({ step, loss, teacherEntropy }) => [
              String(step),
              loss.toFixed(4),
              teacherEntropy?.toFixed(3) ?? '',
            ]),
          ),
        ];
  const card = `${[
    ['---', ...metadata(format, title, origin, training), '---'].join('\n'),
    markOf(''),
    `# ${title}`,
    'A vision backbone: it turns an image into a feature, by which images can be compared, searched, grouped and classified.',
    table(['', ''], facts),
    '## How to use it',
    ...usage(format, file, description, sizes),
    '## Training',
    ...data,
    ...curve,
    '## Quality',
    ...(training === null ? ['Not measured here.'] : qualityText(training)),
    `Written by dino-ts ${packageVersion}.`,
  ].join('\n\n')}\n`;
  return card.replace(markOf(''), markOf(hashOf(card)));
}

/**
 * Writes a card as README.md into a folder; an earlier card is replaced if nobody has changed it.
 * @returns The file, or null when the folder has a README.md of somebody's own or a card that was changed, which is left as it is.
 * @throws CheckpointError when it can't be written.
 */
export function writeModelCard(folder: string, card: string): string | null {
  checkCall('writeModelCard()', ['folder', filePath, folder], ['card', text, card]);
  const file = path.join(folder, 'README.md');
  let before: string | null;
  try {
    before = readTextIfThere(file, { maxBytes: SMALL_FILE_BYTES });
  } catch (error) {
    if (error instanceof DataError) return null; // too large, or not a file: not a card
    throw error;
  }
  if (before !== null && !isUnchanged(before)) return null;
  makeFolderOf(file, CheckpointError);
  writeFileWhole(file, card, { failure: CheckpointError });
  return file;
}
