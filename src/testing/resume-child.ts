/**
 * For tests, in a separate process so that the level of instructions can be chosen before libtorch loads: trains in each
 * precision, once without a stop and once stopped and resumed, and loads the weights twice. Prints, as a JSON list, what is
 * not the same to the bit. Arguments: the folder to write to, which has the images in `images`.
 */
import path from 'node:path';
import { embed } from '../eval/embed.js';
import { loadModel } from '../model.js';
import { type Precision, PRECISIONS } from '../plain/precisions.js';
import { train } from '../train/train.js';
import { fingerprint } from './run-fingerprint.js';
import { TINY_SETTINGS } from './tiny-run.js';

const folder = process.argv[2]!;
const images = path.join(folder, 'images');
const problems: string[] = [];

for (const precision of PRECISIONS.filter((one) => one !== 'fp16')) {
  const settings = { ...TINY_SETTINGS, precision, steps: 3, numWorkers: 0 };
  const run = (name: string): string => path.join(folder, `${precision}-${name}`);
  await train({ images, output: run('whole'), settings });
  const stop = new AbortController();
  await train({
    ...{ images, output: run('stopped'), settings, signal: stop.signal },
    onEvent: (event) => {
      if (event.type === 'step' && event.step === 1) stop.abort();
    },
  });
  await train({ output: run('stopped'), resume: true });
  if (JSON.stringify(fingerprint(run('whole'))) !== JSON.stringify(fingerprint(run('stopped'))))
    problems.push(`${precision}: a resumed run differs`);
  const features = async (as: Precision): Promise<string> => {
    const model = loadModel(run('whole'), { device: 'cpu' });
    const { features } = await embed(model, images, { numWorkers: 0, precision: as });
    model.dispose();
    return Buffer.from(features.buffer, features.byteOffset, features.byteLength).toString('hex');
  };
  if ((await features(precision)) !== (await features(precision)))
    problems.push(`${precision}: features of the same weights, loaded twice, differ`);
}
process.stdout.write(JSON.stringify(problems));
