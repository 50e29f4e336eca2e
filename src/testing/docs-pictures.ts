/**
 * Draws the pictures in docs/images that need a trained model, and therefore can't be made by tests:
 *
 *   DINO_STUDIO_PICTURES=1 node dist/testing/docs-pictures.js RUN IMAGES IMAGE SECOND
 *   DINO_STUDIO_PICTURES=1 node dist/testing/docs-pictures.js RUN IMAGES     only the pictures of Find and map
 *
 * RUN is a run that watches images (`--watch-images`; not needed for Find and map). If it is a demo's, its report is drawn too. The studio is given the parent of RUN and
 * IMAGES, a folder of class folders; IMAGE and SECOND are two images in IMAGES. Use images that may be published: the demo's
 * scenes.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Browser } from 'puppeteer-core';
import sharp from 'sharp';
import { fitClassifier } from '../classify/fit-classifier.js';
import { loadModel } from '../model.js';
import { exportWeb } from '../export/web/export-web.js';
import { launchBrowser, openPage, serveFolders } from './browser.js';
import { classesOf, labelledIndex, rowsOf } from './labelled-index.js';
import { giveFile, lookSettled, setSlider } from './page.js';
import { openStudio } from './studio.js';

const [run, images, image, second] = process.argv.slice(2).map((one) => path.resolve(one));
if (run === undefined || images === undefined || (image === undefined) !== (second === undefined))
  throw new Error('expected two or four arguments');
const browser = await launchBrowser();
if (typeof browser === 'string') throw new Error(browser);
const site = mkdtempSync(path.join(os.tmpdir(), 'dino-docs-pictures-'));

/** An index in Find with five classes labelled: its duplicates, its map, and what is like one of its images. */
async function findAndMap(browser: Browser, run: string, images: string): Promise<void> {
  const output = path.join(site, 'scenes.index');
  using index = await labelledIndex(run, images, output);
  const classes = classesOf(index);
  const studio = await openStudio(browser, [path.dirname(run), images, site]);
  const { page } = studio;
  await page.setViewport({ width: 1440, height: 900 });
  const settled = async (): Promise<void> => {
    await page.waitForSelector('.find-map .canvas[aria-busy="false"] canvas', { timeout: 60_000 });
    await page.waitForFunction(
      `[...document.querySelectorAll('.virtual-grid img')].every((one) => one.naturalWidth > 0)`,
      { timeout: 60_000 },
    );
    await page.evaluate('new Promise((resolve) => setTimeout(resolve, 1500))');
  };
  const place = { index: output, view: 'duplicates' };
  await studio.show(`#/find?${new URLSearchParams(place).toString()}`);
  await page.waitForSelector('.duplicates .examples img', { timeout: 60_000 });
  await settled();
  await studio.picture('duplicates');
  await studio.show(`#/find?${new URLSearchParams({ index: output }).toString()}`);
  await settled();
  await studio.picture('map', '.map-pane');
  // what is like one image, of a class in the middle of the list; two of the results are selected
  const [asked = 0] = rowsOf(index, classes[Math.floor(classes.length / 2)]!);
  const named = { index: output, name: index.images[asked]!.path };
  await studio.show(`#/find?${new URLSearchParams(named).toString()}`);
  await settled();
  await page.click('.virtual-grid .marks .like');
  const search = { index: output, view: 'search', like: String(asked), colour: 'folder' };
  await studio.show(`#/find?${new URLSearchParams(search).toString()}`);
  await page.waitForSelector('.virtual-grid .caption b', { timeout: 60_000 });
  await settled();
  for (const cell of [2, 5]) await page.click(`.virtual-grid li:nth-child(${cell}) .marks .selected`);
  await page.mouse.move(0, 0);
  await settled();
  await studio.picture('find');
  await studio.close();
}

/** The attention of the demo's report: three scenes in a row. */
async function demoReport(browser: Browser, report: string): Promise<void> {
  const page = await browser.newPage();
  await page.setViewport({ width: 1400, height: 900, deviceScaleFactor: 1.5 });
  await page.goto(pathToFileURL(report).href);
  await page.addStyleTag({
    content: `body { max-width: none } .looks { grid-template-columns: repeat(3, 1fr); padding: 18px }
      .look:first-child { grid-column: auto; gap: 6px }`,
  });
  const looks = await page.waitForSelector('.looks');
  writeFileSync(
    fileURLToPath(new URL('../../docs/images/demo.png', import.meta.url)),
    await sharp(await looks!.screenshot())
      .png({ palette: true, quality: 95 })
      .toBuffer(),
  );
  await page.close();
}

/** Look, a run's film, and an exported page. */
async function lookFilmAndExport(
  browser: Browser,
  [run, images, image, second]: [string, string, string, string],
): Promise<void> {
  using model = loadModel(run, { device: 'cpu' });
  const studio = await openStudio(browser, [path.dirname(run), images]);
  const { page } = studio;
  const look = async (view: Readonly<Record<string, string>>): Promise<void> => {
    const query = { weights: run, image, second, ...view };
    await studio.show(`#/look?${new URLSearchParams(query).toString()}`);
    await page.reload();
    await lookSettled(page, 2);
    await page.evaluate('new Promise((resolve) => setTimeout(resolve, 500))');
  };
  await page.setViewport({ width: 1200, height: 800 });
  const card = '[aria-label="What the model sees"]';
  await look({});
  await studio.picture('look', card);
  const told = await studio.text('.seen figcaption', /\d+ × \d+ patches/);
  const [, rows, columns] = /(\d+) × (\d+) patches/.exec(told)!.map(Number) as [number, number, number];
  const middle = Math.floor(rows / 2) * columns + Math.floor(columns / 2);
  await look({ view: 'likeness', patch: `0-${middle}` });
  await studio.picture('look-likeness', card, '.seen figcaption');
  const finer = 2 * Math.min(rows, columns) * model.architecture.patchSize; // twice the usual resolution
  await look({ view: 'colors', front: '1', size: String(finer) });
  await studio.picture('look-parts', card, '.seen figcaption');

  await studio.show('#/runs');
  await page.waitForSelector('.runs th a');
  await page.click('.runs th a');
  await page.waitForSelector('.film .strips canvas', { timeout: 60_000 });
  await page.setViewport({ width: 1200, height: 1060 });
  await setSlider(page, 'Checkpoint', 1000, '.film'); // the last one
  await page.evaluate('new Promise((resolve) => setTimeout(resolve, 1000))');
  await studio.picture('run');
  await studio.picture('film', '.film');
  await studio.close();

  const { classifier } = await fitClassifier(model, { images, method: 'logistic' });
  const folder = path.join(site, 'page');
  await exportWeb(model, folder, { images, classifier, title: 'Twenty kinds of scenes' });
  const server = await serveFolders({ '/site': folder });
  const { page: exported } = await openPage(browser, `${server.origin}/site`);
  await exported.setViewport({ width: 1200, height: 900 });
  await exported.goto(`${server.origin}/site/index.html`);
  await exported.waitForSelector('#status[data-state="ready"]', { timeout: 60_000 });
  await giveFile(exported, 'input[type="file"]', image);
  await exported.waitForFunction(
    `document.querySelector('#status').dataset.state === 'ready' &&
     document.querySelector('.seen figcaption')?.innerText.startsWith(${JSON.stringify(path.basename(image))})`,
    { timeout: 60_000 },
  );
  await exported.evaluate('new Promise((resolve) => setTimeout(resolve, 500))');
  assert.equal(process.env['DINO_STUDIO_PICTURES'], '1', 'set DINO_STUDIO_PICTURES=1 to write');
  writeFileSync(
    fileURLToPath(new URL('../../docs/images/export-web.png', import.meta.url)),
    await sharp(await exported.screenshot({ fullPage: true }))
      .png({ palette: true, quality: 90 })
      .toBuffer(),
  );
  await server.close();
}

try {
  const report = path.join(path.dirname(run), 'report.html');
  if (existsSync(report)) await demoReport(browser, report);
  await findAndMap(browser, run, images);
  if (image !== undefined && second !== undefined)
    await lookFilmAndExport(browser, [run, images, image, second]);
} finally {
  await browser.close();
  rmSync(site, { recursive: true });
}
