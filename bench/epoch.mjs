/** One whole epoch with train(): files, crops, steps, a checkpoint at the end. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { train } from '../dist/index.js';
import { PAPER } from '../dist/train/presets.js';
import { contestant } from './contestant.mjs';

const c = JSON.parse(process.argv[2]);

/** The first images of each class, as links; epoch.py takes the same. */
function someOf(folder, perClass) {
  const few = mkdtempSync(path.join(os.tmpdir(), 'dino-bench-images-'));
  process.on('exit', () => rmSync(few, { recursive: true }));
  for (const name of readdirSync(folder)) {
    mkdirSync(path.join(few, name));
    for (const file of readdirSync(path.join(folder, name)).sort().slice(0, perClass))
      symlinkSync(path.join(folder, name, file), path.join(few, name, file));
  }
  return few;
}

const all = `${c.data}/imagenette-mini/train`;
const images = c.perClass > 0 ? someOf(path.resolve(all), c.perClass) : all;
await contestant(async () => {
  const output = path.join(mkdtempSync(path.join(os.tmpdir(), 'dino-bench-')), 'run');
  const settings = {
    ...{ ...PAPER, arch: c.arch, batchSize: c.batch, precision: 'fp32', device: 'cpu', threads: c.threads },
    ...{ epochs: 1, warmupEpochs: 0, warmupTeacherTempEpochs: 0, numWorkers: 1, outDim: c.outDim },
  };
  const waits = [];
  await train({
    images,
    output,
    settings,
    onEvent: (event) => {
      if (event.type === 'step' && event.metrics) waits.push(event.metrics.dataWaitPercent);
    },
  });
  rmSync(path.dirname(output), { recursive: true });
  return { units: 1, dataWaitPercent: waits.reduce((a, b) => a + b, 0) / waits.length };
});
