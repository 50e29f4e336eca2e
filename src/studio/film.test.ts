/** The film of a run's watched images on the run's page, in a real browser, on real runs. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'puppeteer-core';
import { scaleToUnit, viridis } from '../plain/colors.js';
import { launchBrowser } from '../testing/browser.js';
import { patchColours, setSlider, textsOf, worstColour } from '../testing/page.js';
import { openStudio, type StudioPage } from '../testing/studio.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { trainWatchedRun, watchedPaths } from '../testing/watched-run.js';
import { listWatched, readFrame } from '../run/film-folder.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-film-'));
const { images, run, picture } = watchedPaths(folder);
const trainChild = fileURLToPath(new URL('../testing/train-child.js', import.meta.url));
let browser: Browser | string;

before(async () => {
  browser = await launchBrowser();
  await trainWatchedRun(folder);
});
after(async () => {
  if (typeof browser !== 'string') await browser.close();
  rmSync(folder, { recursive: true });
});

async function openRun(studio: StudioPage, name: string): Promise<void> {
  await studio.show('#/runs');
  await studio.text('.runs th a', new RegExp(`^${name}$`), 30_000);
  await studio.page.evaluate(
    `[...document.querySelectorAll('.runs th a')].find((one) => one.innerText === ${JSON.stringify(name)}).click()`,
  );
  await studio.text('main h1', new RegExp(`^${name}$`));
}

describe('the film of watched images', () => {
  it('shows every checkpoint under a slider that plays, and adds new ones', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    try {
      await openRun(studio, 'runs/first');
      await page.waitForSelector('.film canvas', { timeout: 20_000 });
      const watched = listWatched(run);
      assert.deepEqual((await textsOf(page, '.film .heads button')).map((text) => text.trim()).sort(), [
        'image-0.png',
        'wide.png',
      ]);
      const image = watched[0]!;
      const { rows, columns, steps } = image;
      await setSlider(page, 'Overlay', 1, '.film');
      for (const [at, step] of steps.entries()) {
        await setSlider(page, 'Checkpoint', at, '.film');
        await page.waitForSelector(`.film [data-step="${step}"]`);
        const frame = readFrame(image, step);
        const colours = await patchColours(page, '.film .map-view canvas', rows, columns);
        const worst = worstColour(colours, [...scaleToUnit(frame.mean)].map(viridis));
        assert.ok(worst <= 3, `step ${step}: off by ${worst} of 255`);
      }
      await studio.check();
      // it plays from the beginning to the end
      await page.click('.film button.main');
      await page.waitForSelector(`.film [data-step="${steps[1]!}"]`);
      await page.waitForSelector(`.film [data-step="${steps.at(-1)!}"]`);
      await studio.text('.film button.main', /Play/);
      // by the keys
      await page.focus('.film input[type="range"]');
      await page.keyboard.press('ArrowLeft');
      await page.waitForSelector(`.film [data-step="${steps.at(-2)!}"]`);
      await page.keyboard.press('End');
      // a frame that is damaged is a message, the others go on
      const file = path.join(image.folder, `step-${String(steps[0]!).padStart(8, '0')}.npy`);
      writeFileSync(file, 'half');
      await page.reload();
      await page.waitForSelector('.film canvas');
      await setSlider(page, 'Checkpoint', 0, '.film');
      await studio.text('.film .failure', /damaged/);
      await setSlider(page, 'Checkpoint', 1, '.film');
      await page.waitForSelector(`.film [data-step="${steps[1]!}"]`);
      assert.deepEqual(await textsOf(page, '.film .failure'), []);
      assert.ok(readdirSync(image.folder).length > 3);
    } finally {
      await studio.close();
    }
  });

  it('grows by itself while a training is running', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const growing = path.join(folder, 'runs', 'growing');
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    // an epoch is one step and a checkpoint: many, so that it is still at work when the page has been looked at
    const settings = { ...TINY_SETTINGS, epochs: 2000, saveckpFreq: 20, watchImages: [picture] };
    const child: ChildProcess = spawn(
      process.execPath,
      [trainChild, path.join(images, 'class-0'), growing, JSON.stringify(settings)],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    const ended = new Promise((resolve) => child.once('exit', resolve));
    try {
      await openRun(studio, 'runs/growing');
      await page.waitForSelector('.film canvas', { timeout: 60_000 });
      const seen = async (): Promise<number> =>
        Number(/(\d+) checkpoints/.exec((await textsOf(page, '.film .note')).join())![1]);
      const shownStep = (): Promise<number> =>
        page.evaluate(`Number(document.querySelector('.film [data-step]').dataset.step)`) as Promise<number>;
      const [before, stepBefore] = [await seen(), await shownStep()];
      await page.waitForFunction(
        `Number(document.querySelector('.film [data-step]')?.dataset.step) > ${stepBefore}`,
        { timeout: 60_000, polling: 100 },
      );
      assert.ok((await seen()) > before, 'the slider has more checkpoints');
      assert.equal(child.exitCode, null, 'the training is still at work');
      // who has gone back to an earlier one stays there
      await setSlider(page, 'Checkpoint', 0, '.film');
      await page.waitForSelector('.film [data-step="0"]');
      const count = await seen();
      await page.waitForFunction(
        `Number(/(\\d+) checkpoints/.exec(document.querySelector('.film').innerText)[1]) > ${count}`,
        { timeout: 60_000, polling: 100 },
      );
      assert.equal(await shownStep(), 0);
      assert.deepEqual(studio.errors, []);
    } finally {
      child.kill('SIGKILL');
      await ended;
      await studio.close();
    }
  });
});
