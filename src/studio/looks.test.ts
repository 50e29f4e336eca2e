/**
 * The pages of runs and the section Start as people see them, with runs that were trained on the demo's scenes: walked in one
 * browser, and held to a picture at three widths, light and dark. axe finds nothing on any of them.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import { makeScenes, type SceneSet } from '../demo/scenes.js';
import { changeRunNote } from '../run/run-note.js';
import { launchBrowser } from '../testing/browser.js';
import { pressButton } from '../testing/page.js';
import { looksAs } from '../testing/screenshot.js';
import { openStudio, type StudioPage } from '../testing/studio.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { train } from '../train/train.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-looks-'));
const runs = path.join(folder, 'runs');
const browser: Browser | string = await launchBrowser();

/** What differs from run to run, and between machines: times, speeds, paths, what `auto` chooses. */
const CHANGING = [
  '[data-tile="progress"] strong',
  '[data-tile="speed"]',
  '.runs td:nth-child(6)',
  '.where',
  '.begin .path',
  '.command code',
  '.details code',
  '.planned td:last-child',
];

/** Two runs on the same scenes, which watch the same six of them. */
async function trainTwo({ train: images, val, classes }: SceneSet): Promise<void> {
  const watchImages = classes.slice(3, 9).map((name) => path.join(val, name, '000.png'));
  const settings = {
    ...TINY_SETTINGS,
    ...{ batchSize: 16, epochs: 12, warmupEpochs: 2, threads: 1, saveEverySteps: 10, keepCheckpoints: 20 },
    ...{ globalCropsSize: 48, localCropsSize: 24, knnEvery: 2, knnTrain: images, knnVal: val, watchImages },
  };
  await train({ images, output: path.join(runs, 'scenes'), settings });
  await train({ images, output: path.join(runs, 'colder'), settings: { ...settings, lr: 0.005 } });
  changeRunNote(path.join(runs, 'colder'), { text: 'A quarter of the learning rate.' });
}

describe('what people see first', { skip: typeof browser === 'string' ? browser : false }, () => {
  let studio: StudioPage;
  let scenes: SceneSet;
  before(async () => {
    mkdirSync(runs);
    scenes = await makeScenes({ output: path.join(folder, 'scenes'), trainPerObject: 6, valPerObject: 2 });
    studio = await openStudio(browser as Browser, [folder]);
  });
  after(async () => {
    await studio.close();
    await (browser as Browser).close();
    rmSync(folder, { recursive: true });
  });

  /** Compares the whole of what is shown at each width, in both colours. */
  const looks = async (name: string, settled: () => Promise<unknown>): Promise<void> => {
    const { page } = studio;
    for (const width of [1440, 1024, 390]) {
      for (const scheme of ['light', 'dark'] as const) {
        await page.emulateMediaFeatures([
          { name: 'prefers-color-scheme', value: scheme },
          { name: 'prefers-reduced-motion', value: 'reduce' },
        ]);
        await page.setViewport({ width, height: 900 });
        await settled();
        // all of it in view: charts are drawn where they are seen
        const height = Number(await page.evaluate('document.documentElement.scrollHeight'));
        await page.setViewport({ width, height: Math.max(900, height) });
        await settled();
        await page.mouse.move(1, 1);
        await page.evaluate('new Promise((resolve) => setTimeout(resolve, 300))');
        assert.equal(
          await page.evaluate('document.documentElement.scrollWidth - innerWidth'),
          0,
          `${width} px`,
        );
        await looksAs(page, 'main', `${name}-${width}-${scheme}`, {
          ...{ allowed: 0.05, scale: width > 400 ? 0.4 : 0.5, hidden: CHANGING },
        });
      }
    }
    await page.setViewport({ width: 1200, height: 900 });
    await studio.check();
  };
  const open = async (name: string): Promise<void> => {
    await studio.show('#/runs');
    await studio.text('.runs th a', new RegExp(`^runs/${name}$`), 30_000);
    await studio.page.evaluate(
      `[...document.querySelectorAll('.runs th a')].find((one) => one.innerText === 'runs/${name}').click()`,
    );
    await studio.text('main h1', new RegExp(`^runs/${name}$`));
  };
  /** The film stands still at its last checkpoint, and the charts are drawn. */
  const drawn = async (): Promise<void> => {
    await studio.page.waitForSelector('.film[data-step="84"] .strips li:nth-child(6) canvas', {
      timeout: 60_000,
    });
    await studio.page.waitForFunction(
      `['loss', 'kl', 'knn'].every((name) => document.querySelector('[data-column="' + name + '"] canvas') !== null)
        || innerHeight <= 900`,
      { timeout: 30_000 },
    );
  };

  it('the first visit, and a folder of runs', async () => {
    await looks('home-first', () => studio.text('.cards', /Open a model/));
    await trainTwo(scenes);
    await studio.page.waitForSelector('[aria-label="Compare runs/colder"]', { timeout: 30_000 });
    await looks('home', () => studio.text('.runs', /runs\/scenes[\s\S]*finished/));
  });

  it('the page of a run', async () => {
    await open('scenes');
    await looks('run', drawn);
  });

  it('two runs compared', async () => {
    await studio.show('#/runs');
    for (const name of ['scenes', 'colder']) {
      const box = await studio.page.waitForSelector(`[aria-label="Compare runs/${name}"]`);
      await box!.click();
    }
    await studio.page.evaluate(
      `[...document.querySelectorAll('main a')].find((one) => /^Compare/.test(one.innerText)).click()`,
    );
    await studio.text('main h1', /^2 runs compared$/);
    await looks('compare', drawn);
    // curves, then k-NN, then the same images, then what differs
    const tops = (await studio.page.evaluate(
      `['[data-column="loss"]', '[data-column="knn"]', '.film', '.differences'].map((one) =>
        document.querySelector(one).getBoundingClientRect().top)`,
    )) as number[];
    assert.deepEqual(
      tops,
      [...tops].sort((a, b) => a - b),
    );
  });

  it('Start: choosing a folder, and its settings', async () => {
    await studio.show(`#/start?${new URLSearchParams({ folder: path.join(folder, 'scenes') }).toString()}`);
    await looks('start-folder', () => studio.text('.folder-list', /train\s+120 images in 20 folders/));
    await studio.page.evaluate(
      `[...document.querySelectorAll('.folder-list button')].find((one) => one.innerText.startsWith(' train') || one.innerText.trim().startsWith('train')).click()`,
    );
    await studio.text('.pick-folder code', /train$/);
    await pressButton(studio.page, 'Use this folder');
    await studio.text('.report', /Images\s+120/, 30_000);
    await looks('start', () =>
      studio.page.waitForFunction(
        `document.querySelectorAll('.crops .global').length >= 8 && [...document.querySelectorAll('.crops img')].every((one) => one.naturalWidth > 0)`,
        { timeout: 60_000 },
      ),
    );
  });
});
