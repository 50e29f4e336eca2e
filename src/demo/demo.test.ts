import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { DataError } from '../errors.js';
import { checkSettings } from '../train/config.js';
import { loadModel } from '../model.js';
import { listWatched } from '../run/film-folder.js';
import { DEMO_SETTINGS, type DemoEvent, type DemoOptions, runDemo } from './demo.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-demo-'));
after(() => rmSync(folder, { recursive: true }));

/** Of resnet_class_attention. */
const HEADS = 8;

/** A small demo: 60 + 40 scenes and 7 steps. */
const small: Omit<DemoOptions, 'output'> = {
  scenes: { trainPerObject: 3, valPerObject: 2 },
  settings: {
    ...{ device: 'cpu', embedDim: 32, depth: 3, headHiddenDim: 32, headBottleneckDim: 16, outDim: 16 },
    ...{ batchSize: 8, epochs: 1, warmupTeacherTempEpochs: 0, warmupEpochs: 0, localCropsNumber: 1 },
  },
};

describe('runDemo', () => {
  it('makes images, measures, trains, measures again and writes both files', async () => {
    const events: DemoEvent[] = [];
    const output = path.join(folder, 'demo');
    const result = await runDemo({ ...small, output, seed: 3, onEvent: (event) => events.push(event) });
    const parts = events.flatMap((event) => (event.type === 'part' ? [event.part] : []));
    assert.deepEqual(parts, ['scenes', 'before', 'train', 'after', 'report']);
    const { figures } = result;
    assert.deepEqual(JSON.parse(readFileSync(path.join(output, 'demo.json'), 'utf8')), figures);
    assert.equal(figures.steps, 7);
    assert.equal(figures.curves.step.at(-1), 7);
    assert.deepEqual([figures.knn.trainImages, figures.knn.valImages, figures.knn.classes], [60, 40, 20]);
    assert.equal(figures.jaccard.after.images, 40);
    assert.equal(figures.jaccard.after.heads.length, HEADS);
    const html = readFileSync(result.report, 'utf8');
    const attention = 3 + 1 + 2 * HEADS; // scene and two maps; the scene again and every head
    const neighbours = 1 + 2 * 5;
    assert.equal(html.match(/<img/g)!.length, 6 * attention + 6 * neighbours + 24);
    assert.equal(html.match(/<circle/g)!.length, 2 * 40);
    for (const readings of [figures.knn.pixels, figures.knn.hog, figures.knn.before, figures.knn.after]) {
      for (const value of Object.values(readings)) assert.ok(value >= 0 && value <= 100);
    }
    using model = loadModel(result.run);
    assert.equal(model.embedDim, 32);
    // what the studio shows of it
    const watched = listWatched(result.run);
    assert.equal(watched.length, 6);
    for (const { steps } of watched) assert.deepEqual([steps[0], steps.at(-1)], [0, 7]);
    const kept = readFileSync(path.join(result.run, 'evaluations', 'knn.json'), 'utf8');
    const { classes, top1, pixels } = JSON.parse(kept) as Record<string, unknown>;
    assert.deepEqual([classes, typeof pixels], [20, 'number']);
    assert.equal((top1 as Record<string, number>)['20'], Math.max(...Object.values(figures.knn.after)));

    // again in the same folder: the same images, and new training with the same result
    const again: DemoEvent[] = [];
    const second = await runDemo({ ...small, output, seed: 3, onEvent: (event) => again.push(event) });
    assert.ok(again.some((event) => event.type === 'scenes' && event.reused));
    assert.deepEqual(second.figures.curves, figures.curves);
    assert.deepEqual(second.figures.jaccard, figures.jaccard);
  });

  it('measures, before training, the weights with which training starts', async () => {
    // a network without batch norm, whose statistics would move
    const settings = { ...small.settings!, arch: 'vit', numHeads: 2, lr: 0, minLr: 0 } as const;
    const { figures } = await runDemo({ ...small, settings, output: path.join(folder, 'still'), seed: 1 });
    assert.deepEqual(figures.jaccard.after, figures.jaccard.before);
    assert.deepEqual(figures.knn.after, figures.knn.before);
  });

  it('trains for a time when it is given one', async () => {
    const settings = { ...small.settings };
    delete settings.epochs;
    const output = path.join(folder, 'timed');
    const timed = { ...settings, for: '4s' };
    const { figures } = await runDemo({ ...small, settings: timed, output });
    // a run that its time cuts short may end between two lines of metrics
    const logged = figures.curves.step.at(-1) ?? 0;
    assert.ok(logged > 0 && figures.steps - logged < DEMO_SETTINGS.logEvery, `${figures.steps}, ${logged}`);
    assert.ok(figures.seconds.train < 300);
  });

  it('stops with the reason of its signal', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const output = path.join(folder, 'stopped');
    const running = runDemo({
      ...small,
      output,
      signal: controller.signal,
      onEvent: (event) => {
        if (event.type === 'train' && event.event.type === 'step' && event.event.step === 2) {
          controller.abort(reason);
        }
      },
    });
    await assert.rejects(running, (error) => error === reason);
    assert.ok(!existsSync(path.join(output, 'report.html')));
  });

  it('does not touch a folder that was not made by a demo', async () => {
    const output = path.join(folder, 'mine');
    mkdirSync(output);
    writeFileSync(path.join(output, 'notes.txt'), 'mine');
    await assert.rejects(runDemo({ ...small, output }), DataError);
    assert.equal(readFileSync(path.join(output, 'notes.txt'), 'utf8'), 'mine');
  });

  it('has settings that train() accepts', () => {
    assert.doesNotThrow(() => checkSettings(DEMO_SETTINGS));
  });
});
