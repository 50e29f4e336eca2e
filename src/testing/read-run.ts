/** For fuzz-folder.ts: every reader of a run folder, those of the studio and of the command line. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { saveEvaluation } from '../eval/save-evaluation.js';
import { readLock } from '../files/folder-lock.js';
import { detailsMarkOf, detailsOf } from '../studio/run-details.js';
import { Run } from '../studio/run.js';
import { readSeries } from '../studio/series.js';
import { newestWholeCheckpoint } from '../run/checkpoint-files.js';
import { listWatched, readFrame } from '../run/film-folder.js';
import { lastLine, readLines } from '../files/json-lines.js';
import { metricsPath, readRunConfig, skippedPath } from '../run/run-folder.js';
import { readRunNote } from '../run/run-note.js';
import { describeWeights } from '../weights/describe.js';
import { exportWeights } from '../weights/export-weights.js';
import { loadModel } from '../model.js';
import { locateWeights } from '../weights/locate.js';

const images = process.env['FUZZ_IMAGES']!;

export const read = (
  folder: string,
  scratch: string,
): readonly (readonly [name: string, read: () => unknown])[] => {
  mkdirSync(scratch, { recursive: true });
  const output = path.join(scratch, 'weights');
  const shown = async (): Promise<unknown> => {
    const run = new Run(folder, 'run');
    await run.look();
    await run.read(() => undefined);
    const series = { axis: 'step', width: 100, columns: ['loss', 'lr', '__proto__'] } as const;
    return [
      run.summary,
      await readSeries(run.log(), { ...series, columns: [...series.columns] }, await detailsMarkOf(run)),
    ];
  };
  return [
    ['settings', () => readRunConfig(folder)],
    ['note', () => readRunNote(folder)],
    ['lock', () => readLock(folder)],
    ['metrics', () => readLines(metricsPath(folder))],
    ['last line', () => lastLine(metricsPath(folder), (line) => 'loss' in line)],
    ['skipped', () => readLines(skippedPath(folder))],
    ['newest checkpoint', () => newestWholeCheckpoint(folder, () => undefined)],
    [
      'watched',
      () => listWatched(folder).map((image) => image.steps.map((step) => readFrame(image, step).rows)),
    ],
    ['describe', () => describeWeights(folder)],
    [
      'embed',
      async () => {
        using model = loadModel(folder, { device: 'cpu' });
        return (await model.embed(images, { numWorkers: 0, resize: 32, crop: 32 })).shape;
      },
    ],
    ['student', () => loadModel(folder, { device: 'cpu', checkpointKey: 'student' }).dispose()],
    [
      'export safetensors',
      () => exportWeights(folder, { format: 'safetensors', output: `${output}.safetensors` }),
    ],
    ['export pth', () => exportWeights(folder, { format: 'pth', output: `${output}.pth` })],
    ['save an evaluation', () => saveEvaluation(locateWeights(folder, 'teacher').file, 'knn', { top1: 1 })],
    ['studio: run', shown],
    [
      'studio: details',
      async () => {
        const run = new Run(folder, 'run');
        await run.look();
        return detailsOf(run);
      },
    ],
  ];
};
