/** `dino eval quality`: see src/eval/quality.ts. */
import { z } from 'zod';
import type { QualityResult } from '../../eval/quality.js';
import { type MeasureName, showMeasure } from '../../plain/quality.js';
import { counter } from '../counter.js';
import { defineCommand } from '../command.js';
import { pick, seed, whole } from '../flags.js';
import { interruptible } from '../interrupt.js';
import { openModel, weightsArgument } from '../weights/options.js';
import { evalOptions, keepResult, loading, warnOfMissing } from './options.js';

/** The measures as rows, with what they are. */
const ROWS: readonly (readonly [MeasureName, title: string, about: string])[] = [
  ['neighbours', 'neighbours kept', 'of the five nearest images, those on which two views of an image agree'],
  ['otherView', 'other view first', 'images that find another view of themselves before any other image'],
  ['otherViewRank', 'other view, 1 / rank', 'the same, with half the credit for second place and so on'],
  ['rankMe', 'RankMe', 'directions that the features use'],
  ['lidar', 'LiDAR', 'directions in which images differ more than views of one'],
  ['alphaReq', 'alpha-ReQ', 'how fast the directions fade; best near 1'],
];

function table(result: QualityResult): string {
  const { measure, images, views, resize, crop, words, untrained, pixels, against, measures } = result;
  const columns = [
    ['model', measures],
    ...(against === null ? [] : [['against', against] as const]),
    ...(untrained === null ? [] : [['untrained', untrained] as const]),
    ['pixels', pixels],
  ] as const;
  const row = (title: string, cells: readonly string[], about: string): string =>
    `${title.padEnd(22)}${cells.map((cell) => cell.padStart(11)).join('')}   ${about}`.trimEnd();
  const sorted = [...ROWS].sort(([a], [b]) => Number(b === measure) - Number(a === measure));
  return [
    `${images} images, ${views} other views of each, resize ${resize}, crop ${crop}`,
    row(
      '',
      columns.map(([name]) => name),
      '',
    ),
    ...sorted.map(([name, title, about]) =>
      row(
        title,
        columns.map(([, of]) => showMeasure(name, of[name])),
        about,
      ),
    ),
    ...words.map((line) => `${line[0]!.toUpperCase()}${line.slice(1)}.`),
  ].join('\n');
}

export const command = defineCommand({
  args: {
    weights: weightsArgument,
    images: z.string().describe('folder of images, text file of paths, or shards; labels are not needed'),
  },
  options: {
    against: z.string().optional().meta({
      description: 'other weights (a run, another checkpoint) to compare with, on the same images',
      placeholder: '<weights>',
    }),
    views: whole(2, 1000).default(4).describe('other views of each image'),
    maxImages: whole(2).default(1024).describe('images that are used at most, sampled evenly'),
    seed: seed().default(0).describe('seed of the sample and the views'),
    ...evalOptions(128),
  },
  examples: [
    'dino eval quality runs/first photos',
    'dino eval quality runs/second photos --against runs/first',
    'dino eval quality runs/first/checkpoints/best photos --against runs/first',
  ],

  async run({ args: { weights, images }, options, io }) {
    await interruptible(
      () => io.note('interrupted'),
      async (signal) => {
        const { evaluateQuality } = await import('../../eval/quality.js');
        const model = await openModel(weights, options, io);
        const { against: other, ...rest } = options;
        const against =
          other === undefined ? undefined : await openModel(other, { device: options.device }, io);
        const count = counter(io);
        const result = await evaluateQuality(model, {
          ...loading(rest),
          ...pick(rest, 'views', 'maxImages', 'seed'),
          ...(against === undefined ? {} : { against }),
          ...{ images, signal },
          onProgress: ({ done, total }) => count('images and views', done, total),
        });
        warnOfMissing(io, result);
        await keepResult(io, model, 'quality', {
          imageFolder: images,
          ...(other === undefined ? {} : { againstWeights: other }),
          ...result,
        });
        io.result(result, table(result));
      },
    );
  },
});
