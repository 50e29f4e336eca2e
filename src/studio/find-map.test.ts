/** The map of an open index in a real browser: how it looks, and how it answers the pointer. */
import assert from 'node:assert/strict';
import { linkSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import sharp from 'sharp';
import { labelImages } from '../explore/labels.js';
import { keepMap } from '../explore/map.js';
import { launchBrowser } from '../testing/browser.js';
import { clusteredRows, featureIndex } from '../testing/feature-index.js';
import { pressButton, pressRole } from '../testing/page.js';
import { looksAs, looksUnlike } from '../testing/screenshot.js';
import { openStudio, type StudioPage } from '../testing/studio.js';

const CANVAS = '.find-map .canvas';
const COUNT = 600;
/** Rows of each of the three groups: a large ring, a bar to the upper left, a spot to the lower right. */
const GROUPS = { ring: 300, bar: 200, spot: 100 };

/** Positions (N, 2) that any reflection or rotation changes. */
function figure(): Float32Array {
  const places = new Float32Array(2 * COUNT);
  for (let row = 0; row < COUNT; row++) {
    const [ring, bar] = [GROUPS.ring, GROUPS.ring + GROUPS.bar];
    const i = row < ring ? row : row < bar ? row - ring : row - bar;
    const [x, y] =
      row < ring
        ? [Math.cos((2 * Math.PI * i) / ring), Math.sin((2 * Math.PI * i) / ring)]
        : row < bar
          ? [-3 + (i % 20) / 10, -2 + Math.floor(i / 20) / 10]
          : [2.5 + (i % 10) / 20, 1.2 + Math.floor(i / 10) / 20];
    places.set([x, y], 2 * row);
  }
  return places;
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-find-map-'));
const at = path.join(folder, 'figure.index');
const browser: Browser | string = await launchBrowser();

/** A picture for each row: of one colour for each group, in two shades. */
async function writePictures(images: string): Promise<void> {
  const colours = { ring: '#4a7ab5', bar: '#c98a2b', spot: '#5a9a5a' };
  let row = 0;
  for (const [group, colour] of Object.entries(colours)) {
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="60" height="60"><rect width="60" height="60" fill="${colour}"/><circle cx="30" cy="30" r="16" fill="#fff"/></svg>`;
    const file = path.join(folder, `${group}.jpg`);
    await sharp(Buffer.from(svg)).jpeg().toFile(file);
    for (let i = 0; i < GROUPS[group as keyof typeof GROUPS]; i++)
      linkSync(file, path.join(images, `${row++}.jpg`));
  }
}

before(async () => {
  const images = path.join(at, 'images');
  mkdirSync(images, { recursive: true });
  await writePictures(images);
  using index = await featureIndex(at, clusteredRows(COUNT, 8, 3, 0.1), 8);
  await keepMap(index, figure());
  const rows = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);
  labelImages(index, rows(0, GROUPS.ring), 'ring');
  labelImages(index, rows(GROUPS.ring, GROUPS.bar), 'bar');
});
after(async () => {
  if (typeof browser !== 'string') await browser.close();
  rmSync(folder, { recursive: true });
});

describe('the map', { skip: typeof browser === 'string' ? browser : false }, () => {
  let shown: StudioPage;
  before(async () => {
    shown = await openStudio(browser as Browser, [folder]);
    await shown.page.setViewport({ width: 1440, height: 900 });
    await shown.page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
    await shown.show(`#/find?${new URLSearchParams({ index: at }).toString()}`);
    await drawn();
  });
  after(() => shown.close());
  const drawn = () => shown.page.waitForSelector(`${CANVAS}[aria-busy="false"] canvas`, { timeout: 30_000 });
  const press = (words: string): Promise<void> => pressButton(shown.page, words);
  const settle = () =>
    shown.page.evaluate('new Promise((resolve) => setTimeout(() => requestAnimationFrame(resolve), 500))');
  /** How many images the grid shows. */
  const counted = (pattern: RegExp): Promise<string> => shown.text('.grid-head [role=status]', pattern);
  const all = () => counted(/^600 images$/);
  const showAll = async (): Promise<void> => {
    await shown.page.click('.grid-head .chip');
    await all();
  };
  const boxOf = async (): Promise<[number, number, number, number]> => {
    const box = (await (await shown.page.$(CANVAS))!.boundingBox())!;
    return [box.x, box.y, box.width, box.height];
  };
  /** Where a place of the figure is on the screen while the whole map is shown, or `factor` of it. */
  const screenOf = async (x: number, y: number, factor = 1): Promise<[number, number]> => {
    const [left, top, width, height] = await boxOf();
    // the frame takes a pixel on each side; the figure reaches from -3 to 2.95 and from -2 to 1.65
    const scale = factor * 0.9 * Math.min((width - 2) / 5.95, (height - 2) / 3.65);
    return [left + width / 2 + (x + 0.025) * scale, top + height / 2 + (y + 0.175) * scale];
  };

  it('matches its reference picture, with a colour for each label and a legend in words', async () => {
    await shown.text('.legend li', /^\s*ring 300$/);
    await shown.text('.legend li', /^\s*bar 200$/);
    await settle();
    await looksAs(shown.page, CANVAS, 'map');
    await shown.check();
    // check() has changed the size of the page
    await shown.page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
    await settle();
  });

  it('looks different when it is moved, and the same again when all is shown', async () => {
    await shown.page.focus(`${CANVAS} canvas`);
    for (let i = 0; i < 3; i++) await shown.page.keyboard.press('ArrowRight');
    await shown.page.keyboard.press('+');
    await settle();
    await looksUnlike(shown.page, CANVAS, 'map');
    await shown.page.keyboard.press('0');
    await settle();
    await looksAs(shown.page, CANVAS, 'map');
    const [x, y, width, height] = await boxOf();
    await shown.page.mouse.move(x + width / 2, y + height / 2);
    await shown.page.mouse.down();
    await shown.page.mouse.move(x + width / 2 + 150, y + height / 2 + 40, { steps: 5 });
    await shown.page.mouse.up();
    await settle();
    await looksUnlike(shown.page, CANVAS, 'map');
    await press('Whole map');
    await settle();
    await looksAs(shown.page, CANVAS, 'map');
  });

  it('shows the image under the pointer, and looks for the neighbours of one that is clicked', async () => {
    await shown.page.mouse.move(...(await screenOf(2.7, 1.4)));
    const name = await shown.text('.map-card .caption', /^5\d\d\.jpg$/);
    await shown.page.waitForFunction(`document.querySelector('.map-card img').naturalWidth > 0`);
    await shown.page.mouse.click(...(await screenOf(2.7, 1.4)));
    await shown.text('.asked summary', new RegExp(`^\\s*Like ${name.replace('.', '\\.')}$`));
    await counted(/^200 images$/);
    assert.match((await shown.page.evaluate('location.hash')) as string, /view=search/);
    await pressRole(shown.page, 'tab', 'All images');
    await all();
    // and the other way: a picture of the grid is found on the map
    await shown.page.hover('.virtual-grid .picture');
    await shown.text('.map-card .caption', /^0\.jpg$/);
    await shown.page.mouse.move(5, 5);
  });

  it('is zoomed by plus and minus, within bounds: fewer images are in view, and never none but specks', async () => {
    await press('Only what is in view');
    await shown.text('.chip', /^600 images on the map/);
    await showAll();
    await shown.page.focus(`${CANVAS} canvas`);
    for (let i = 0; i < 2; i++) await shown.page.keyboard.press('+');
    await settle();
    await press('Only what is in view');
    const zoomed = Number(/\d+/.exec(await shown.text('.chip', /on the map/))![0]);
    assert.ok(zoomed > 0 && zoomed < COUNT, `${zoomed} in view`);
    await showAll();
    await shown.page.focus(`${CANVAS} canvas`);
    for (let i = 0; i < 20; i++) await shown.page.keyboard.press('-');
    await settle();
    await shown.page.mouse.move(...(await screenOf(2.7, 1.4, 2 ** -0.5)));
    await shown.text('.map-card .caption', /^5\d\d\.jpg$/);
    // moved out of sight as far as it goes, the last points are in the middle
    for (let i = 0; i < 40; i++) await shown.page.keyboard.press('ArrowRight');
    await settle();
    await press('Only what is in view');
    assert.ok(Number(/\d+/.exec(await shown.text('.chip', /on the map/))![0]) >= GROUPS.spot);
    await showAll();
    await press('Whole map');
  });

  it('shows pictures where there is room, and none where points are crowded', async () => {
    /** Rows whose pictures are on the map. */
    const pictured = async (): Promise<number[]> =>
      (await shown.page.evaluate(
        `[...document.querySelectorAll('.map-picture img')].map((one) => Number(/(\\d+)\\.jpg/.exec(decodeURIComponent(one.src))[1]))`,
      )) as number[];
    await press('Whole map');
    await settle();
    assert.deepEqual(await pictured(), [], 'all is crowded');
    // at four times the size the bar's points are apart, the ring's are not: both are in view
    await shown.page.focus(`${CANVAS} canvas`);
    for (const [key, times] of [
      ['+', 4],
      ['ArrowLeft', 7],
      ['ArrowUp', 4],
    ] as const)
      for (let i = 0; i < times; i++) await shown.page.keyboard.press(key);
    await shown.page.waitForSelector('.map-picture img', { timeout: 20_000 });
    await settle();
    await press('Only what is in view');
    await shown.text('.chip', /on the map/);
    const first = await shown.page.evaluate(`document.querySelector('.virtual-grid .picture').ariaLabel`);
    assert.ok(Number(/\d+/.exec(String(first))![0]) < GROUPS.ring, 'some of the ring is in view');
    const bar = (await pictured()).filter((row) => row >= GROUPS.ring && row < GROUPS.ring + GROUPS.bar);
    assert.ok(bar.length > 5, `${bar.length} pictures`);
    assert.deepEqual(await pictured(), bar);
    const boxes = (await shown.page.evaluate(
      `[...document.querySelectorAll('.map-picture')].map((one) => { const { x, y } = one.getBoundingClientRect(); return [x, y]; })`,
    )) as [number, number][];
    for (const [i, [x, y]] of boxes.entries())
      for (const [otherX, otherY] of boxes.slice(i + 1))
        assert.ok(Math.abs(x - otherX) >= 47 || Math.abs(y - otherY) >= 47, 'no picture covers another');
    await showAll();
    await press('Whole map');
    await shown.page.waitForFunction(`document.querySelector('.map-picture') === null`);
    await settle();
  });

  it('selects with the lasso what lies inside, and nothing else: the grid shows only that', async () => {
    await press('Lasso');
    // around the lower right quarter of the picture, where the spot is
    const corners = [
      [2.3, 1],
      [3.1, 1],
      [3.1, 1.8],
      [2.3, 1.8],
    ] as const;
    await shown.page.mouse.move(...(await screenOf(...corners[0])));
    await shown.page.mouse.down();
    for (const [x, y] of corners.slice(1)) {
      const [left, top] = await screenOf(x, y);
      await shown.page.mouse.move(left, top, { steps: 4 });
    }
    await shown.page.mouse.up();
    await counted(/^100 images$/);
    await shown.text('.chip', /^100 images on the map/);
    // the filter outlives a reload, and holds in other views
    await shown.page.reload();
    await counted(/^100 images$/);
    await pressRole(shown.page, 'tab', 'Labels');
    await counted(/^0 images$/);
    await pressRole(shown.page, 'tab', 'All images');
    await press('Select these');
    await shown.text('.tray [role=status]', /^100 selected/);
    await press('Clear');
    await showAll();
  });

  it('is coloured by what is chosen', async () => {
    await drawn();
    const colour = (name: string) => shown.page.select('.map-pane select', name);
    await colour('outlier');
    await shown.text('.legend-scale', /usual\s+an outlier/);
    await settle();
    await looksUnlike(shown.page, CANVAS, 'map');
    await colour('cluster');
    await shown.text('.legend li', /^\s*Cluster 1 \d+$/, 30_000);
    await colour('folder');
    await shown.text('.legend li', /^\s*the top folder 600$/);
    await shown.page.reload();
    await shown.text('.legend li', /^\s*the top folder 600$/);
    await drawn();
    await colour('label');
    await shown.text('.legend li', /^\s*ring 300$/);
    await shown.check();
  });
});
