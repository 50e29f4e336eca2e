/** How a run stands: the tiles on top of its page, and what a training becomes when it ends; in a real browser. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'puppeteer-core';
import { readLines } from '../files/json-lines.js';
import { configPath, metricsPath } from '../run/run-folder.js';
import { launchBrowser } from '../testing/browser.js';
import { textsOf } from '../testing/page.js';
import { openStudio, type StudioPage } from '../testing/studio.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { trainWatchedRun, watchedPaths } from '../testing/watched-run.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-tiles-'));
const { images, run: first, picture } = watchedPaths(folder);
const trainChild = fileURLToPath(new URL('../testing/train-child.js', import.meta.url));
const browser: Browser | string = await launchBrowser();

describe('how a run stands', { skip: typeof browser === 'string' ? browser : false }, () => {
  let studio: StudioPage;
  before(async () => {
    await trainWatchedRun(folder);
    studio = await openStudio(browser as Browser, [folder]);
  });
  after(async () => {
    await studio.close();
    await (browser as Browser).close();
    rmSync(folder, { recursive: true });
  });

  const openRun = (name: string): Promise<void> => studio.openRun(name, 90_000);
  const tile = (name: string, pattern: RegExp, timeout?: number): Promise<string> =>
    studio.text(`[data-tile="${name}"]`, pattern, timeout);
  /** A copy of the run, of 300 steps, with the lines of metrics that a test writes. */
  const copy = (name: string, lines: string): string => {
    const run = path.join(folder, 'runs', name);
    cpSync(first, run, { recursive: true });
    const config = JSON.parse(readFileSync(configPath(run), 'utf8')) as { settings: { epochs: number } };
    config.settings.epochs = 300; // of one step
    writeFileSync(configPath(run), JSON.stringify(config));
    writeFileSync(metricsPath(run), lines);
    return run;
  };
  const last = () => readLines(metricsPath(first)).at(-1) as Record<string, number>;
  /** A line like the run's last one, but for some values. */
  const line = (values: Readonly<Record<string, number>>): string =>
    `${JSON.stringify({ ...last(), ...values })}\n`;

  it('says how good the features are, beside chance, raw pixels and before training', async () => {
    const judge = { measure: 'neighbours', untrained: 0.25, pixels: 0.36, isBest: true, bestStep: 2 };
    const judged = (step: number, score: number): string =>
      `${JSON.stringify({ step, epoch: 0, judge: { ...judge, score } })}\n`;
    const run = copy('measured', judged(0, 0.25) + line({ step: 2 }) + judged(2, 0.416));
    await openRun('runs/measured');
    // without labels
    const views = await tile('quality', /41\.6/);
    assert.match(
      views,
      /^Neighbours kept in another view\s+41\.6 ?%\s+raw pixels 36\.0 ?%, before training 25\.0 ?%$/,
    );
    // with labels, which came later
    const knn = (step: number, score: number): string => {
      const told = { top1: { 10: score - 1, 20: score }, top5: {}, center: null, pca: null, classes: 20 };
      return `${JSON.stringify({ step, epoch: 1, ...told, pixels: 40.3, untrained: 31 })}\n`;
    };
    appendFileSync(metricsPath(run), knn(2, 61) + line({ step: 4 }) + knn(4, 60.5));
    const accuracy = await tile('quality', /^k-NN accuracy/, 30_000);
    assert.match(
      accuracy,
      /60\.5 %\s+chance 5\.0 %, raw pixels 40\.3 %, before training 31\.0 %, best 61\.0 % after step 2$/,
    );
    await studio.check();
  });

  it('says when training collapses, in words and in red', async () => {
    const lnK = Math.log(TINY_SETTINGS.outDim);
    const flat = { loss: lnK, teacherEntropy: lnK, kl: 0 };
    const single = { loss: 0.5, teacherEntropy: 0.001, kl: 0 };
    const health = (words: RegExp): Promise<string> => tile('health', words, 30_000);
    const colour = (): Promise<unknown> =>
      studio.page.evaluate(`getComputedStyle(document.querySelector('[data-tile="health"] .health')).color`);
    await openRun('runs/first');
    await health(/Healthy\s+Different images get different answers\.$/);
    const healthy = await colour();

    const run = copy('collapsing', line({ step: 1, ...flat }) + line({ step: 20, ...flat }));
    await openRun('runs/collapsing');
    await health(
      /Too early to tell\s+All images still get the same answer, as in every training at first\.$/,
    );
    const early = await colour();
    assert.equal(await studio.page.$('.verdict[role="status"]'), null, 'no alarm yet');
    appendFileSync(metricsPath(run), line({ step: 150, ...flat }));
    await health(/Collapsed\s+Every image gets the same flat answer: nothing is learned\.$/);
    const collapsed = await colour();
    assert.equal(new Set([healthy, early, collapsed]).size, 3, 'each has a colour of its own');
    await studio.text(
      '.verdict[role="status"]',
      /same flat answer for 149 steps .* lower teacher temperature/,
    );
    await studio.check();

    copy('constant', line({ step: 1, ...single }) + line({ step: 150, ...single }));
    await openRun('runs/constant');
    await health(/Collapsed\s+Every image gets the same single answer: nothing is learned\.$/);
    assert.equal(await colour(), collapsed);
    await studio.text('.verdict[role="status"]', /one dimension dominates.* higher teacher temperature/);
  });

  it('says that it waits for images, and answers why the loss rises at first', async () => {
    const run = copy('waiting', line({ step: 1, dataWaitPercent: 4 }));
    await openRun('runs/waiting');
    assert.doesNotMatch(await tile('speed', /images\/s/), /waits/);
    appendFileSync(metricsPath(run), line({ step: 2, dataWaitPercent: 30 }));
    await tile('speed', /waits for images 30 % of the time: use more loader workers$/, 30_000);
    const answer = '[data-column="loss"] details[open] p';
    await studio.text('[data-column="loss"] summary', /^Why does the loss rise at first\?$/);
    assert.equal(await studio.page.$(answer), null, 'the answer is folded away');
    await studio.page.click('[data-column="loss"] summary');
    await studio.text(answer, /answers become sharper and harder to predict, and the loss rises/);
    await studio.check();
  });

  it('becomes a finished run before the eyes of who watches it: no Stop any more, but what to do with it', async () => {
    const run = path.join(folder, 'runs', 'ending');
    const settings = { ...TINY_SETTINGS, epochs: 40, saveckpFreq: 20, watchImages: [picture] };
    // what was recorded last is shown, and does not play
    await studio.page.emulateMediaFeatures([{ name: 'prefers-reduced-motion', value: 'reduce' }]);
    const child: ChildProcess = spawn(
      process.execPath,
      [trainChild, path.join(images, 'class-0'), run, JSON.stringify(settings)],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    const ended = new Promise((resolve) => child.once('exit', resolve));
    try {
      // it is held after its first line, until its page has been looked at
      while (!existsSync(metricsPath(run)) || statSync(metricsPath(run)).size === 0) {
        assert.equal(child.exitCode, null, 'the training is at work');
        await sleep(5);
      }
      child.kill('SIGSTOP');
      await openRun('runs/ending');
      const actions = (): Promise<string[]> =>
        textsOf(studio.page, '.run-head .actions a, .run-head .actions button');
      await tile('progress', /^Progress\s+\d+ %\s+\d+ of 40 steps/, 30_000);
      assert.match((await actions()).join(), /Stop after this step/);
      await studio.page.waitForFunction(`/^\\d+ % – runs\\/ending/.test(document.title)`);
      child.kill('SIGCONT');
      await ended;
      assert.equal(child.exitCode, 0);
      await tile('progress', /^Progress\s+Finished in \d+ s\s+40 of 40 steps$/, 30_000);
      await studio.page.waitForFunction(
        `![...document.querySelectorAll('.run-head .actions button')].some((one) => /Stop/.test(one.innerText))`,
      );
      await studio.text('.run-head .actions a', /Look/);
      assert.deepEqual(await actions(), ['Look', 'Index', 'Export']);
      await studio.page.waitForFunction(`/^runs\\/ending – Runs/.test(document.title)`);
      await studio.text('.sentence', /^Finished: all 40 steps are done\.$/);
      assert.deepEqual(await textsOf(studio.page, '.lost, .silent, .ended, .failure'), []);
      // its first and its last attention
      await studio.page.waitForSelector('.film[data-step="40"]', { timeout: 30_000 });
      assert.deepEqual(await textsOf(studio.page, '.strips .cell .note'), [
        'Original',
        'Before training',
        'After 40 steps',
      ]);
      await studio.check();
    } finally {
      child.kill('SIGKILL');
      await ended;
    }
  });
});
