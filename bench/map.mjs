/**
 * The studio's map of an index of many images, in a headless Chromium with software rendering:
 *
 *   node bench/map.mjs [images, 100,000] [--umap]
 *
 * layout: makeMap() on features of 200 clusters, only with --umap (without it, random places around 200 centres). open: from
 * choosing Map until all points are drawn. pan: frames per second while the map is dragged for three seconds, by the main
 * thread's animation frames. select: from "Select what is in view" until the points have their new colours.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { keepMap, makeMap } from '../dist/explore/map.js';
import { launchBrowser } from '../dist/testing/browser.js';
import { clusteredRows, featureIndex, normals } from '../dist/testing/feature-index.js';
import { openStudio } from '../dist/testing/studio.js';
import { framesWhile } from './frames.mjs';

const count = Number(process.argv[2] ?? 100_000);
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-bench-map-'));
const browser = await launchBrowser();
if (typeof browser === 'string') throw new Error(browser);
const round = (value) => Math.round(value);

try {
  const at = path.join(folder, 'many.index');
  mkdirSync(path.join(at, 'images'), { recursive: true });
  const [width, centres] = [16, 200];
  const index = await featureIndex(at, clusteredRows(count, width, centres, 0.3), width);
  let layout = null;
  if (process.argv.includes('--umap')) {
    const start = performance.now();
    await makeMap(index);
    layout = (performance.now() - start) / 1000;
  } else {
    const middle = normals(2 * centres, 3);
    const places = normals(2 * count, 4);
    for (let i = 0; i < places.length; i++) {
      const row = i >> 1;
      places[i] = 10 * middle[2 * (row % centres) + (i & 1)] + places[i];
    }
    keepMap(index, places);
  }
  index.close();

  const { page, show, text, close } = await openStudio(browser, [folder]);
  await show(`#/find?${new URLSearchParams({ index: at })}`);
  await text('.find p', /images of/, 60_000);
  const choose = (words) =>
    page.evaluate(
      `[...document.querySelectorAll('.find button')].find((one) => one.innerText === ${JSON.stringify(words)}).click()`,
    );
  const nextFrame = 'new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))';
  let start = performance.now();
  await choose('Map');
  await page.waitForSelector('.find-map .canvas[aria-busy="false"] canvas', { timeout: 60_000 });
  await page.evaluate(nextFrame);
  const open = performance.now() - start;

  const box = await (await page.$('.find-map .canvas')).boundingBox();
  const y = Math.min(box.y + box.height / 2, 600);
  await page.mouse.move(box.x + box.width / 2, y);
  await page.mouse.down();
  const frames = await framesWhile(page, (i) =>
    page.mouse.move(box.x + box.width * (0.5 + 0.3 * Math.sin(i / 20)), y),
  );
  await page.mouse.up();

  start = performance.now();
  await choose('Select what is in view');
  await page.evaluate(nextFrame);
  const select = performance.now() - start;
  console.log(
    JSON.stringify({
      images: count,
      layoutSeconds: layout === null ? null : round(layout),
      openMs: round(open),
      ...frames,
      selectMs: round(select),
    }),
  );
  await close();
} finally {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
