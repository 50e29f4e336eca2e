/**
 * The pages of runs and the section Start as people see them first, with runs that were trained on the demo's scenes: walked in
 * one browser, and held to a picture at three widths, light and dark. (axe looks at them in the tests of what they do.)
 */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import { makeScenes, type SceneSet } from '../demo/scenes.js';
import { changeRunNote } from '../run/run-note.js';
import { launchBrowser } from '../testing/browser.js';
import { openFolder, pressButton } from '../testing/page.js';
import { looksAtWidths, WINDOW } from '../testing/screenshot.js';
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
  '.begin .note',
];

/** Two runs on the same scenes, which watch the same six of them. */
async function trainTwo({ train: images, val, classes }: SceneSet): Promise<void> {
  // in the order of their names
  const watchImages = classes.slice(3, 9).map((name) => path.join(folder, `${name}.png`));
  for (const file of watchImages) copyFileSync(path.join(val, path.basename(file, '.png'), '000.png'), file);
  const settings = {
    ...TINY_SETTINGS,
    ...{ batchSize: 16, epochs: 6, threads: 1 },
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

  /** Compares what is in the window at each width, in both colours. */
  const looks = async (name: string, settled: () => Promise<unknown>): Promise<void> => {
    const { page } = studio;
    const ready = async (): Promise<void> => {
      await page.evaluate('scrollTo(0, 0)');
      await settled();
      const beyond = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
      assert.equal(beyond, 0, `${name} at ${page.viewport()?.width} px`);
    };
    await looksAtWidths(page, WINDOW, name, ready, (width) => ({
      ...{ allowed: 0.03, scale: width > 400 ? 0.34 : 0.55, hidden: CHANGING },
    }));
    assert.deepEqual([studio.errors, studio.stopped], [[], []]);
  };
  /** Before a page with a film is opened: it would play. */
  const still = (): Promise<void> =>
    studio.page.emulateMediaFeatures([{ name: 'prefers-reduced-motion', value: 'reduce' }]);
  const open = async (name: string): Promise<void> => {
    await still();
    await studio.show('#/runs');
    await studio.text('.runs th a', new RegExp(`^runs/${name}$`), 90_000);
    await studio.page.evaluate(
      `[...document.querySelectorAll('.runs th a')].find((one) => one.innerText === 'runs/${name}').click()`,
    );
    await studio.text('main h1', new RegExp(`^runs/${name}$`));
  };
  /** The film stands still at its last checkpoint, and the charts are drawn. */
  const drawn = async (): Promise<void> => {
    await studio.page.waitForSelector('[data-tile="quality"], .compare-head');
    await studio.page.waitForSelector('.film[data-step="42"] .strips li:nth-child(6) canvas', {
      timeout: 60_000,
    });
    // a loaded machine's loader doesn't keep up, which takes a line more
    await studio.page.evaluate(
      `{ const note = document.querySelector('[data-tile="speed"] dd .note')?.firstChild;
        if (note) note.data = 'in its last steps'; }`,
    );
  };

  it('the first visit, and a folder of runs', async () => {
    await looks('home-first', () => studio.text('.cards', /Open a model/));
    await trainTwo(scenes);
    await studio.page.waitForSelector('[aria-label="Compare runs/colder"]', { timeout: 120_000 });
    await looks('home', () =>
      studio.text(
        '.runs',
        /colder\s+A quarter of the learning rate\.\s+finished[\s\S]*scenes\s+finished/,
        30_000,
      ),
    );
  });

  it('the page of a run', async () => {
    await open('scenes');
    await looks('run', drawn);
  });

  it('two runs compared', async () => {
    await still();
    await studio.show('#/runs');
    for (const name of ['scenes', 'colder']) {
      const box = await studio.page.waitForSelector(`[aria-label="Compare runs/${name}"]`);
      await box!.click();
    }
    await studio.page.evaluate(
      `[...document.querySelectorAll('main a')].find((one) => /^Compare/.test(one.innerText)).click()`,
    );
    await studio.text('main h1', /^2 runs compared$/);
    await looks('compare', async () => {
      await drawn();
      await studio.page.waitForSelector('[data-column="knn"]');
      await studio.page.waitForSelector('[data-column="loss"] canvas');
    });
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
    await studio.text('.folder-list', /train\s+120 images in 20 folders/);
    await openFolder(studio.page, 'train');
    await studio.text('.pick-folder code', /train$/);
    await pressButton(studio.page, 'Use this folder');
    await studio.text('.report', /Images\s+120/, 30_000);
    // the paper's settings are the same on every machine
    await studio.page.select('main select', 'paper');
    await studio.page.waitForFunction(
      `document.querySelector('.planned [name="epochs"]')?.value === '100' && document.querySelector('.planned [name="arch"]')?.value === 'vit_small'`,
      { timeout: 30_000 },
    );
    await studio.page.evaluate(`{ const one = document.querySelector('[name="epochs"]');
      one.value = '20'; one.dispatchEvent(new Event('change', { bubbles: true })); }`);
    await studio.text('.planned tr.own', /Your choice/);
    await looks('start', () =>
      studio.page.waitForFunction(
        `document.querySelectorAll('.crops .global').length >= 8 && [...document.querySelectorAll('.crops img')].every((one) => one.naturalWidth > 0)`,
        { timeout: 60_000 },
      ),
    );
  });
});
