/** The page as a whole, in a real browser: answers that come late, and sections that leave each other alone and stay as they were left. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import { buildIndex } from '../explore/build-index.js';
import { loadModel } from '../model.js';
import { launchBrowser } from '../testing/browser.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { giveFile, lookSettled, openFolder as openFolderOf, showView, textsOf } from '../testing/page.js';
import { writeOfficialWeights } from '../testing/saved-run.js';
import { openStudio, type StudioPage } from '../testing/studio.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-page-'));
const picture = path.join(folder, 'quick', 'class-0', 'image-0.png');
const weights = path.join(folder, 'dino_vit_tiny16.pth');
const index = path.join(folder, 'quick.index');
const browser: Browser | string = await launchBrowser();

describe('the page', { skip: typeof browser === 'string' ? browser : false }, () => {
  let studio: StudioPage;
  before(async () => {
    for (const name of ['slow', 'quick'])
      await makeImageFolder(path.join(folder, name), { classes: 1, perClass: 4, size: 48 });
    writeOfficialWeights(weights, 'vit_tiny');
    using model = loadModel(weights, { device: 'cpu' });
    await buildIndex(model, path.join(folder, 'quick'), { output: index, numWorkers: 0 });
    studio = await openStudio(browser as Browser, [folder]);
  });
  after(async () => {
    await studio.close();
    await (browser as Browser).close();
    rmSync(folder, { recursive: true });
  });

  /** Real replies whose address holds these words come this much later, and are not aborted. */
  const delay = (words: string, ms: number): Promise<unknown> =>
    studio.page.evaluate(`{
      const real = window.fetch;
      window.fetch = async (address, init) => {
        if (!address.includes(${JSON.stringify(words)})) return real(address, init);
        window.wasAsked = true;
        const reply = await real(address, { ...init, signal: null });
        await new Promise((resolve) => setTimeout(resolve, ${ms}));
        window.cameLate = true;
        return reply;
      };
    }`);
  const cameLate = (): Promise<unknown> => studio.page.waitForFunction('window.cameLate === true');
  const press = (words: string): Promise<unknown> =>
    studio.page.evaluate(
      `[...document.querySelectorAll('main button')].find((one) => one.innerText.trim() === ${JSON.stringify(words)}).click()`,
    );

  const openFolder = (name: string): Promise<void> => openFolderOf(studio.page, name);

  it('drops the answer to a question when another has followed it', async () => {
    await studio.show('#/start');
    await studio.text('.folder-list li', /dino-studio-page-/);
    await openFolder(folder);
    await studio.text('.folder-list', /quick[\s\S]*slow/);
    await delay('slow', 1500);
    await openFolder('slow');
    await openFolder('quick');
    await studio.text('.pick-folder code', /quick$/);
    await cameLate();
    await new Promise((resolve) => setTimeout(resolve, 200));
    await studio.text('.pick-folder code', /quick$/, 0);
  });

  it('is ready again when an image is removed while it is computed', async () => {
    await studio.page.reload();
    await studio.show('#/look');
    await studio.page.waitForSelector('input[type="file"]');
    await delay('/api/look', 1500);
    await giveFile(studio.page, 'input[type="file"]', picture);
    await studio.page.waitForFunction('window.wasAsked === true');
    await studio.page.waitForSelector('#look-status[data-state="busy"]');
    await press('Remove');
    await lookSettled(studio.page, 0);
    await cameLate();
    await new Promise((resolve) => setTimeout(resolve, 200));
    await lookSettled(studio.page, 0);
  });

  it('takes a file that is dropped beside the box, and lets none replace the page', async () => {
    await studio.page.reload();
    const drop = (): Promise<unknown> =>
      studio.page.evaluate(`(async () => {
        const canvas = new OffscreenCanvas(40, 40);
        canvas.getContext('2d').fillRect(5, 5, 20, 20);
        const data = new DataTransfer();
        data.items.add(new File([await canvas.convertToBlob()], 'beside.png', { type: 'image/png' }));
        return !document.querySelector('main').dispatchEvent(
          new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: data }),
        );
      })()`);
    await studio.show('#/look');
    await studio.page.waitForSelector('.pick-image');
    assert.equal(await drop(), true);
    await studio.text('.image-choices', /beside\.png/);
    await studio.show('#/runs');
    await studio.text('main h1', /^Runs$/);
    assert.equal(await drop(), true, 'the browser does not open it');
    await studio.show('#/look');
  });

  it('leads back by its menu to what was seen in each section, and from within one to its beginning', async () => {
    const { page } = studio;
    const address = (): Promise<string> => page.evaluate('location.hash') as Promise<string>;
    const menu = (words: string): Promise<unknown> =>
      page.evaluate(
        `[...document.querySelectorAll('nav a')].find((one) => one.innerText === ${JSON.stringify(words)}).click()`,
      );
    const isFound = (): Promise<unknown> => studio.text('.grid-head [role=status]', /^1 image$/);
    const isLooked = async (): Promise<void> => {
      await lookSettled(page);
      await studio.text('.seen figcaption', /^image-0\.png: /);
      await studio.text('.tabs [aria-selected=true]', /^Likeness$/);
      assert.equal(await page.evaluate(`document.querySelector('main select').value`), weights);
    };
    await page.reload();
    await studio.show(`#/look?${new URLSearchParams({ weights, image: picture }).toString()}`);
    await lookSettled(page);
    await showView(page, 'Likeness');
    await isLooked();
    const looked = await address();
    await menu('Find and map');
    await studio.show(`#/find?${new URLSearchParams({ index, name: 'image-2' }).toString()}`);
    await isFound();
    const found = await address();
    await studio.show('#/start');
    await openFolder(folder);
    await studio.text('.folder-list', /quick[\s\S]*slow/);
    for (const way of ['at once', 'after a reload']) {
      await menu('Runs');
      await studio.text('main h1', /^Runs$/);
      if (way === 'after a reload') {
        await page.reload();
        await studio.text('main h1', /^Runs$/);
      }
      await menu('Look');
      await isLooked();
      assert.equal(await address(), looked, way);
      await menu('Find and map');
      await isFound();
      assert.equal(await address(), found, way);
      await menu('Start');
      await studio.text('.folder-list', /quick[\s\S]*slow/);
    }
    await menu('Start');
    await studio.text('.folder-list li', /dino-studio-page-/);
    assert.equal(await address(), '#/start');
    await menu('Look');
    await isLooked();
    await menu('Look');
    await studio.text('main', /Choose an image/);
    assert.equal(await address(), '#/look');
    await page.evaluate('history.back()');
    await isLooked();
    assert.deepEqual(studio.errors, []);
  });

  it('is light or dark as the system is, or as was chosen, and remembers the choice', async () => {
    const { page } = studio;
    const system = (value: string): Promise<void> =>
      page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value }]);
    const colours = async (): Promise<string> => {
      await page.evaluate('new Promise((resolve) => requestAnimationFrame(() => resolve()))');
      return String(
        await page.evaluate(
          `(({ backgroundColor, color }) => backgroundColor + ' ' + color)(getComputedStyle(document.body))`,
        ),
      );
    };
    await studio.show('#/runs');
    await system('light');
    const light = await colours();
    await system('dark');
    const dark = await colours();
    assert.notEqual(light, dark);
    assert.deepEqual(await textsOf(page, '.theme option'), ['Auto', 'Light', 'Dark']);
    for (const [chosen, of, expected] of [
      ['light', 'dark', light],
      ['dark', 'light', dark],
      ['auto', 'light', light],
      ['auto', 'dark', dark],
    ] as const) {
      await system(of);
      await page.select('.theme select', chosen);
      assert.equal(await colours(), expected, `${chosen} where the system is ${of}`);
      await page.reload();
      await page.waitForSelector('.theme select');
      assert.equal(await page.evaluate(`document.querySelector('.theme select').value`), chosen);
      assert.equal(await colours(), expected, `${chosen} where the system is ${of}, after a reload`);
    }
    await page.emulateMediaFeatures([]);
  });

  it('draws a section the same way after another was opened', async () => {
    await studio.page.reload();
    await studio.show('#/look');
    await studio.page.waitForSelector('.image-choices');
    await studio.page.evaluate(`location.hash = '#/find'`);
    await studio.page.waitForSelector('.find');
    await studio.show(`#/start?${new URLSearchParams({ images: path.join(folder, 'quick') }).toString()}`);
    await studio.page.waitForSelector('table.planned');
    const display = await studio.page.evaluate(
      `getComputedStyle(document.querySelector('table.planned')).display`,
    );
    assert.equal(display, 'table');
    await studio.check();
  });
});
