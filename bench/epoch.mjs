/** One whole epoch by train(): files, crops, steps, a checkpoint at the end. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { train } from '../dist/index.js';
import { PAPER } from '../dist/train/presets.js';
import { contestant } from './contestant.mjs';

const c = JSON.parse(process.argv[2]);
await contestant(async () => {
  const output = path.join(mkdtempSync(path.join(os.tmpdir(), 'dino-bench-')), 'run');
  const settings = {
    ...{ ...PAPER, arch: c.arch, batchSize: c.batch, precision: 'fp32', device: 'cpu', threads: c.threads },
    ...{ epochs: 1, warmupEpochs: 0, warmupTeacherTempEpochs: 0, numWorkers: 1, outDim: c.outDim },
  };
  const waits = [];
  await train({
    images: `${c.data}/imagenette-mini/train`,
    output,
    settings,
    onEvent: (event) => {
      if (event.type === 'step' && event.metrics) waits.push(event.metrics.dataWaitPercent);
    },
  });
  rmSync(path.dirname(output), { recursive: true });
  console.error(`data wait ${(waits.reduce((a, b) => a + b, 0) / waits.length).toFixed(1)}%`);
  return 1;
});
