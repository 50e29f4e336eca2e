/**
 * An index of many images in the studio, its grid and its map, in a headless Chromium with software rendering:
 *
 *   node bench/map.mjs [images, 100,000] [--umap]
 *
 * layout: makeMap() on features of 200 clusters, only with --umap (without it, random places around 200 centres). first: from
 * following the link until pictures are in the grid. open: until all points of the map are drawn too. scroll: frames per
 * second while the grid is scrolled for three seconds, by the main thread's animation frames, some of it thousands of rows at
 * once; read: while it is scrolled as somebody does who looks at the images; pan: while the map is dragged.
 * filter: from "Only what is in view" until the grid shows these.
 */
import { linkSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
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
  for (let i = 0; i < 200; i++) {
    const background = { r: (i * 37) % 256, g: (i * 91) % 256, b: (i * 151) % 256 };
    const picture = sharp({ create: { width: 224, height: 224, channels: 3, background } });
    await picture.jpeg().toFile(path.join(folder, `${i}.jpg`));
  }
  for (let i = 0; i < count; i++)
    linkSync(path.join(folder, `${i % 200}.jpg`), path.join(at, 'images', `${i}.jpg`));
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
    await keepMap(index, places);
  }
  index.close();

  const { page, show, close } = await openStudio(browser, [folder]);
  const nextFrame = 'new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))';
  let start = performance.now();
  await show(`#/find?${new URLSearchParams({ index: at })}`);
  await page.waitForFunction(
    `[...document.querySelectorAll('.virtual-grid img')].filter((one) => one.naturalWidth > 0).length > 10`,
    { timeout: 60_000 },
  );
  const first = performance.now() - start;
  await page.waitForSelector('.find-map .canvas[aria-busy="false"] canvas', { timeout: 60_000 });
  await page.evaluate(nextFrame);
  const open = performance.now() - start;

  const grid = await (await page.$('.virtual-grid')).boundingBox();
  await page.mouse.move(grid.x + grid.width / 2, grid.y + grid.height / 2);
  const scroll = await framesWhile(page, (i) => page.mouse.wheel({ deltaY: i % 40 < 20 ? 240 : 6000 }));
  await sleep(3000);
  const read = await framesWhile(page, async () => {
    await page.mouse.wheel({ deltaY: 60 });
    await sleep(40);
  });
  await sleep(1000);

  const box = await (await page.$('.find-map .canvas')).boundingBox();
  const y = Math.min(box.y + box.height / 2, 600);
  await page.mouse.move(box.x + box.width / 2, y);
  await page.mouse.down();
  const frames = await framesWhile(page, (i) =>
    page.mouse.move(box.x + box.width * (0.5 + 0.3 * Math.sin(i / 20)), y),
  );
  await page.mouse.up();

  start = performance.now();
  await page.evaluate(
    `[...document.querySelectorAll('.find button')].find((one) => one.innerText === 'Only what is in view').click()`,
  );
  await page.waitForSelector('.grid-head .chip');
  await page.evaluate(nextFrame);
  const filter = performance.now() - start;
  console.log(
    JSON.stringify({
      images: count,
      layoutSeconds: layout === null ? null : round(layout),
      firstMs: round(first),
      openMs: round(open),
      scroll,
      read,
      pan: frames,
      filterMs: round(filter),
    }),
  );
  await close();
} finally {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
