/**
 * One process of a training, as a launcher would start it. The mortal rank kills itself in the student's forward pass of a
 * given step, so that the others notice in their backward pass:
 * `node mortal-rank.js <images> <run> <settings as JSON> <mortal rank> <step, or 0 for never>`. It resumes the run if it
 * exists.
 */
import { buildBackbone } from '../models/index.js';
import { inProcesses } from '../cli/train/processes.js';
import { Output } from '../cli/output.js';
import { isRunFolder } from '../run/run-folder.js';
import { trainSettingsSchema } from '../run/settings.js';
import { train } from '../train/train.js';
import { TINY_SETTINGS } from './tiny-run.js';

const [images = '', output = '', json = '{}', mortal = '1', last = '0'] = process.argv.slice(2);
const settings = trainSettingsSchema.parse(JSON.parse(json));
const io = new Output(false);
const options = { distTimeout: 20, nproc: 1 };
await inProcesses({ options, io }, async (world) => {
  let step = 0;
  await train({
    ...{ images, output, settings, world, resume: isRunFolder(output) },
    backbone: ({ imgSize, dropPathRate }) => {
      const { patchSize, embedDim, depth, numHeads } = TINY_SETTINGS;
      const own = { arch: 'vit', patchSize, embedDim, depth, numHeads };
      const backbone = buildBackbone({ ...own, imgSize, dropPathRate } as Parameters<
        typeof buildBackbone
      >[0]);
      const forward = backbone.forward.bind(backbone);
      if (dropPathRate !== 0)
        backbone.forward = (x) => {
          // once in each step, for the global crops: local ones go through forwardLocal()
          if (world.rank === Number(mortal) && Number(last) > 0 && ++step === Number(last))
            process.kill(process.pid, 'SIGKILL');
          return forward(x);
        };
      return backbone;
    },
  });
});
