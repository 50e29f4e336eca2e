/**
 * The pages as people see them, with runs that were trained on the demo's scenes: walked in one browser, and held to pictures
 * at three widths, light and dark. (axe looks at them in the tests of what they do.)
 *
 *   DINO_WRITE_PICTURES=1 node scripts/test.mjs studio/looks     makes the pictures again: look at each of them
 */
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, Page } from 'puppeteer-core';
import sharp from 'sharp';
import { makeScenes, type SceneSet } from '../demo/scenes.js';
import { exportWeb } from '../export/web/export-web.js';
import { loadModel } from '../model.js';
import { changeRunNote } from '../run/run-note.js';
import { launchBrowser, openPage, serveFolders } from '../testing/browser.js';
import { classesOf, labelledIndex, rowsOf } from '../testing/labelled-index.js';
import { lookSettled, openFolder, pressButton } from '../testing/page.js';
import { looksAtWidths, looksUnlike, type PictureOptions, WINDOW } from '../testing/screenshot.js';
import { openStudio, type StudioPage } from '../testing/studio.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { train } from '../train/train.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-looks-'));
const runs = path.join(folder, 'runs');
const run = path.join(runs, 'scenes');
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
  '.index-card .note',
  '#computed',
  '#status',
];

const optionsAt = (width: number): PictureOptions => ({
  ...{ allowed: 0.03, scale: width > 400 ? 0.34 : 0.55, hidden: CHANGING },
});

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
  await train({ images, output: run, settings });
  await train({ images, output: path.join(runs, 'colder'), settings: { ...settings, lr: 0.005 } });
  changeRunNote(path.join(runs, 'colder'), { text: 'A quarter of the learning rate.' });
}

/** The scenes, and copies of some of them as another program keeps them: their near-duplicates. */
async function withCopies(images: string, output: string): Promise<string> {
  cpSync(images, output, { recursive: true });
  for (const name of ['car', 'dog', 'house', 'parrot', 'shoe'])
    await sharp(path.join(images, name, '000.png'))
      .resize(112)
      .jpeg({ quality: 75 })
      .toFile(path.join(output, name, '000 copy.jpg'));
  return output;
}

describe('what people see', { skip: typeof browser === 'string' ? browser : false }, () => {
  let studio: StudioPage;
  let scenes: SceneSet;
  before(async () => {
    mkdirSync(runs);
    const sizes = { trainPerObject: 6, valPerObject: 2, size: 128 };
    scenes = await makeScenes({ output: path.join(folder, 'scenes'), ...sizes });
    studio = await openStudio(browser as Browser, [folder]);
    await studio.page.setViewport({ width: 1440, height: 900 });
  });
  after(async () => {
    await studio.close();
    await (browser as Browser).close();
    rmSync(folder, { recursive: true });
  });

  /** The picture that was compared last. */
  let previous: string | null = null;
  interface Shown {
    page?: Page;
    /** What the window begins with; default the page's top. */
    from?: string;
  }
  /** Compares what is in the window at each width, in both colours; and makes sure that it is not what was seen before. */
  const looks = async (
    name: string,
    settled: () => Promise<unknown>,
    { page = studio.page, from }: Shown = {},
  ): Promise<void> => {
    const begin = (): Promise<unknown> =>
      page.evaluate(
        from === undefined
          ? 'scrollTo(0, 0)'
          : `document.querySelector(${JSON.stringify(from)}).scrollIntoView()`,
      );
    const ready = async (): Promise<void> => {
      if (from !== undefined) await page.waitForSelector(from, { timeout: 60_000 });
      // what is off the screen is drawn when it comes there, and may change what is above it
      await begin();
      await settled();
      await begin();
      const beyond = 'document.documentElement.scrollWidth - innerWidth';
      await page.waitForFunction(`${beyond} === 0`, { timeout: 5000 }).catch(() => undefined);
      assert.equal(await page.evaluate(beyond), 0, `${name} at ${page.viewport()?.width} px`);
    };
    await looksAtWidths(page, WINDOW, name, ready, optionsAt);
    if (previous !== null) await isUnlike(previous, page);
    previous = name;
    assert.deepEqual([studio.errors, studio.stopped], [[], []]);
  };
  const calm = (page: Page): Promise<void> =>
    page.emulateMediaFeatures([
      { name: 'prefers-color-scheme', value: 'light' },
      { name: 'prefers-reduced-motion', value: 'reduce' },
    ]);
  const isUnlike = async (name: string, page = studio.page): Promise<void> => {
    await calm(page);
    await looksUnlike(page, WINDOW, `${name}-1440-light`, optionsAt(1440));
  };
  const open = async (name: string): Promise<void> => {
    await calm(studio.page); // a film would play
    await studio.show('#/runs');
    await studio.text('.runs th a', new RegExp(`^runs/${name}$`), 90_000);
    await studio.page.evaluate(
      `[...document.querySelectorAll('.runs th a')].find((one) => one.innerText === 'runs/${name}').click()`,
    );
    await studio.text('main h1', new RegExp(`^runs/${name}$`));
  };
  /** The same page again, whose film stands still. */
  const again = async (): Promise<void> => {
    await calm(studio.page);
    await studio.page.reload();
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
  const loaded = (selector: string): Promise<unknown> =>
    studio.page.waitForFunction(
      `(() => {
        const all = [...document.querySelectorAll(${JSON.stringify(selector)})];
        return all.length > 0 && all.every((one) => one.complete && one.naturalWidth > 0);
      })()`,
      { timeout: 60_000 },
    );

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

  it('the page of a run, and its curves', async () => {
    await open('scenes');
    await looks('run', drawn);
    await again();
    await looks(
      'run-charts',
      async () => {
        await drawn();
        await studio.page.waitForSelector('[data-column="loss"] canvas');
      },
      { from: '[aria-labelledby="curves"]' },
    );
  });

  it('two runs compared: their curves, and what they attend to', async () => {
    await calm(studio.page);
    await studio.show('#/runs');
    for (const name of ['scenes', 'colder']) {
      const box = await studio.page.waitForSelector(`[aria-label="Compare runs/${name}"]`);
      await box!.click();
    }
    await studio.page.evaluate(
      `[...document.querySelectorAll('main a')].find((one) => /^Compare/.test(one.innerText)).click()`,
    );
    await studio.text('main h1', /^2 runs compared$/);
    const compared = async (): Promise<void> => {
      await drawn();
      await studio.page.waitForSelector('[data-column="knn"]');
      await studio.page.waitForSelector('[data-column="loss"] canvas');
    };
    await looks('compare', compared);
    // curves, then k-NN, then the same images, then what differs
    const tops = (await studio.page.evaluate(
      `['[data-column="loss"]', '[data-column="knn"]', '.film', '.differences'].map((one) =>
        document.querySelector(one).getBoundingClientRect().top)`,
    )) as number[];
    assert.deepEqual(
      tops,
      [...tops].sort((a, b) => a - b),
    );
    await again();
    await looks('compare-film', drawn, { from: '.film' });
  });

  it('Find: the indexes, one with its map, what is like an image, duplicates, and an image large', async () => {
    const output = path.join(folder, 'scenes.index');
    const images = await withCopies(scenes.train, path.join(folder, 'pictures'));
    // what `auto` chooses for so few images, and where UMAP puts them, differs between machines
    const options = { numWorkers: 0, whiten: 'pca', map: 'principal' } as const;
    using index = await labelledIndex(run, images, output, options);
    (await labelledIndex(run, scenes.val, path.join(folder, 'other-scenes.index'), options)).close();
    const show = (query: Readonly<Record<string, string>>): Promise<void> =>
      studio.show(`#/find?${new URLSearchParams({ index: output, ...query }).toString()}`);
    const mapped = async (selector = '.virtual-grid img'): Promise<void> => {
      await loaded(selector);
      await studio.page.waitForSelector('.find-map .canvas[aria-busy="false"] canvas', { timeout: 60_000 });
      await sleep(400); // pictures come to the map where it has come to rest
      await loaded('.virtual-grid img, .group img, .map-picture img');
    };
    await studio.show('#/find');
    await looks('find-home', () => loaded('.index-card img'));

    await show({});
    await studio.page.waitForSelector('.virtual-grid .picture', { timeout: 60_000 });
    await studio.page.focus('.virtual-grid .picture');
    for (const key of [
      'ArrowRight',
      'Space',
      'ArrowRight',
      '+',
      'ArrowRight',
      '-',
      'ArrowRight',
      'Space',
    ] as const)
      await studio.page.keyboard.press(key);
    await studio.text('.tray [role=status]', /^2 selected, 1 like, 1 unlike/);
    await studio.page.evaluate('document.activeElement.blur()');
    await looks('find', mapped);
    const classes = classesOf(index);
    const [asked = 0] = rowsOf(index, classes[classes.length >> 1]!);
    await show({ view: 'search', like: String(asked) });
    await studio.page.waitForSelector('.virtual-grid .caption b', { timeout: 60_000 });
    await looks('find-search', mapped);
    await show({ view: 'duplicates' });
    await looks('find-duplicates', () => mapped('.duplicates .examples img'));
    await show({ image: String(asked) });
    await looks('find-large', () => loaded('dialog .region-image img, .neighbours img'));
  });

  it('Look: attention, what is like a patch, and parts in colour, of two scenes', async () => {
    const [image, second] = ['dog.png', 'fish.png'].map((name) => path.join(folder, name)) as [
      string,
      string,
    ];
    const show = async (query: Readonly<Record<string, string>>): Promise<void> => {
      await studio.show(
        `#/look?${new URLSearchParams({ weights: run, image, second, ...query }).toString()}`,
      );
      await settled();
    };
    const settled = async (): Promise<void> => {
      await lookSettled(studio.page, 2);
      await sleep(200); // the images come at their full resolution
    };
    const from = '[aria-label="What the model sees"]';
    await show({});
    await looks('look', settled, { from });
    await show({ view: 'likeness', patch: '0-65', scaled: '1' });
    await looks('look-likeness', settled, { from });
    // another patch, and another scale of colours, are seen to be different
    for (const query of [{ patch: '0-0', scaled: '1' }, { patch: '0-65' }]) {
      await show({ view: 'likeness', ...query });
      await studio.page.evaluate(`document.querySelector('${from}').scrollIntoView()`);
      await isUnlike('look-likeness');
    }
    await show({ view: 'colors' });
    await looks('look-parts', settled, { from });
  });

  it('an exported page', async () => {
    using model = loadModel(run, { device: 'cpu' });
    const site = path.join(folder, 'page');
    await exportWeb(model, site, { images: scenes.val, title: 'Twenty kinds of things' });
    const server = await serveFolders({ '/site': site });
    const { page, errors, stopped } = await openPage(browser as Browser, `${server.origin}/site`);
    try {
      await page.setViewport({ width: 1440, height: 900 });
      const sample = new URLSearchParams({ image: 'dog/000.png' });
      await page.goto(`${server.origin}/site/index.html?backend=wasm#/?${sample.toString()}`);
      const settled = async (): Promise<void> => {
        await page.waitForSelector('#status[data-state="ready"]', { timeout: 60_000 });
        await page.waitForSelector('.seen .map-view > canvas');
        await page.waitForSelector('.gallery img');
        await sleep(200);
      };
      await looks('export', settled, { page });
      await looks('export-seen', settled, { page, from: '[aria-label="What the model sees"]' });
      assert.deepEqual([errors, stopped], [[], []]);
    } finally {
      await page.close();
      await server.close();
    }
  });

  it('Start: choosing a folder, its settings, and the crops that training would see', async () => {
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
    const cropped = async (): Promise<void> => {
      await studio.page.waitForFunction(`document.querySelectorAll('.crops .global').length >= 8`, {
        timeout: 60_000,
      });
      await loaded('.crops img');
    };
    await looks('start', cropped);
    await looks('start-crops', cropped, { from: '[aria-labelledby="crops"]' });
  });
});
