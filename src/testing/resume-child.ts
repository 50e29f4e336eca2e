/**
 * For tests, in a separate process so that the level of instructions can be chosen before libtorch loads: trains in each
 * case, once without a stop and once stopped and resumed, and loads the weights twice. Prints, as a JSON list, what is
 * not the same to the bit. Arguments: the folder to write to, which has the images in `images`; `all` cases, or `some`, and
 * the number of the selection.
 */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { embed } from '../eval/embed.js';
import { loadModel } from '../model.js';
import { OPTIMIZERS } from '../optim/names.js';
import type { Precision } from '../plain/precisions.js';
import type { TrainSettings } from '../run/settings.js';
import { train } from '../train/train.js';
import { fingerprint } from './run-fingerprint.js';
import { TINY_SETTINGS } from './tiny-run.js';

/** What differs from TINY_SETTINGS; undefined: not given. */
type Case = { [Name in keyof TrainSettings]?: TrainSettings[Name] | undefined } & { precision: Precision };
type BackboneCase = Omit<Case, 'precision'>;

/** One of each family; of the sizes of TINY_SETTINGS where nothing else is said. */
const BACKBONES: readonly BackboneCase[] = [
  { arch: 'vit' },
  { arch: 'dinov2_vit' },
  { arch: 'dinov3_vit_swiglu' },
  { arch: 'resnet', embedDim: 32, depth: 4, numHeads: undefined },
  { arch: 'resnet_class_attention', embedDim: 32, depth: 3, numHeads: undefined },
  {
    ...{ arch: 'dinov3_convnext', embedDim: 64, depth: 6, numHeads: undefined },
    localCropsSize: 32,
  },
];
/** Of 26 million parameters, so only among all. */
const XCIT: BackboneCase = {
  ...{ arch: 'xcit_small_12_p16', embedDim: undefined, depth: undefined, numHeads: undefined },
  ...{ globalCropsSize: 64, localCropsSize: 32 },
};
const PRECISIONS = ['fp32', 'bf16-matmul', 'bf16'] as const;

/** All, or for each backbone one optimizer and precision: other ones in each selection. */
function casesOf(extent: string, selection: number): Case[] {
  if (extent === 'all')
    return [...BACKBONES, XCIT].flatMap((backbone) =>
      OPTIMIZERS.flatMap((optimizer) =>
        PRECISIONS.map((precision) => ({ ...backbone, optimizer, precision })),
      ),
    );
  return BACKBONES.flatMap((backbone, i) => {
    const of = (shift: number): Case => ({
      ...backbone,
      optimizer: OPTIMIZERS[(i + selection + shift) % OPTIMIZERS.length]!,
      precision: PRECISIONS[(i + selection + shift) % PRECISIONS.length]!,
    });
    return backbone.arch === 'vit' ? [of(0), of(1), of(2)] : [of(0)];
  });
}

const [folder, extent, selection] = process.argv.slice(2) as [string, string, string];
const images = path.join(folder, 'images');
const problems: string[] = [];

for (const one of casesOf(extent, Number(selection))) {
  const name = `${one.arch ?? TINY_SETTINGS.arch}, ${one.optimizer ?? TINY_SETTINGS.optimizer}, ${one.precision}`;
  const settings = { ...TINY_SETTINGS, ...one, steps: 3, numWorkers: 0 } as TrainSettings;
  const [whole, stopped] = [path.join(folder, 'whole'), path.join(folder, 'stopped')];
  await train({ images, output: whole, settings });
  const stop = new AbortController();
  await train({
    ...{ images, output: stopped, settings, signal: stop.signal },
    onEvent: (event) => {
      if (event.type === 'step' && event.step === 1) stop.abort();
    },
  });
  await train({ output: stopped, resume: true });
  if (JSON.stringify(fingerprint(whole)) !== JSON.stringify(fingerprint(stopped)))
    problems.push(`${name}: a resumed run differs`);
  const features = async (): Promise<string> => {
    const model = loadModel(whole, { device: 'cpu' });
    const { features } = await embed(model, images, { numWorkers: 0, precision: one.precision });
    model.dispose();
    return Buffer.from(features.buffer, features.byteOffset, features.byteLength).toString('hex');
  };
  if ((await features()) !== (await features()))
    problems.push(`${name}: features of the same weights, loaded twice, differ`);
  for (const run of [whole, stopped]) rmSync(run, { recursive: true });
}
process.stdout.write(JSON.stringify(problems));
