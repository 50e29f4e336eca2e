/** The map of an index in a real browser: where its points are, their colours, the keyboard, the lasso. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import { labelImages } from '../explore/labels.js';
import { keepMap } from '../explore/map.js';
import { launchBrowser } from '../testing/browser.js';
import { clusteredRows, featureIndex } from '../testing/feature-index.js';
import { pressButton } from '../testing/page.js';
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
before(async () => {
  mkdirSync(path.join(at, 'images'), { recursive: true });
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
    await shown.page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
    await shown.show(`#/find?${new URLSearchParams({ index: at, view: 'map' }).toString()}`);
    await drawn();
  });
  after(() => shown.close());
  const drawn = () => shown.page.waitForSelector(`${CANVAS}[aria-busy="false"] canvas`, { timeout: 30_000 });
  const press = (words: string): Promise<void> => pressButton(shown.page, words);
  const selected = async (): Promise<number> => {
    await press('Selection and labels');
    const text = await shown.text('.row span', /images selected/);
    await press('Map');
    await drawn();
    return Number(/\d+/.exec(text)![0]);
  };

  it('matches its reference picture, with a colour for each label and a legend in words', async () => {
    await shown.text('.legend li', /^\s*ring$/);
    await shown.text('.legend li', /^\s*bar$/);
    await looksAs(shown.page, CANVAS, 'map');
    await shown.check();
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
    await drag();
    await looksUnlike(shown.page, CANVAS, 'map');
    await press('Show all');
    await settle();
    await looksAs(shown.page, CANVAS, 'map');
  });

  it('is moved by arrow keys and zoomed by plus and minus: fewer images are in view', async () => {
    await press('Select what is in view');
    assert.equal(await selected(), COUNT);
    await shown.page.focus(`${CANVAS} canvas`);
    for (let i = 0; i < 2; i++) await shown.page.keyboard.press('+');
    await settle();
    await press('Select what is in view');
    const zoomed = await selected();
    assert.ok(zoomed > 0 && zoomed < COUNT, `${zoomed} in view`);
  });

  it('selects with the lasso what lies inside, and nothing else', async () => {
    await press('Show all');
    await settle();
    await press('Lasso');
    const [x, y, width, height] = await boxOf(); // a click may have scrolled the page
    // around the lower right quarter of the picture, where the spot is
    const corner = [
      [0.7, 0.7],
      [0.95, 0.7],
      [0.95, 0.99],
      [0.7, 0.99],
    ].map(([u, v]) => [x + u! * width, y + v! * height] as const);
    await shown.page.mouse.move(...corner[0]!);
    await shown.page.mouse.down();
    for (const point of corner.slice(1)) await shown.page.mouse.move(...point, { steps: 4 });
    await shown.page.mouse.up();
    assert.equal(await selected(), GROUPS.spot);
  });

  const settle = () =>
    shown.page.evaluate('new Promise((resolve) => setTimeout(() => requestAnimationFrame(resolve), 500))');
  const drag = async (): Promise<void> => {
    const [x, y, width, height] = await boxOf();
    await shown.page.mouse.move(x + width / 2, y + height / 2);
    await shown.page.mouse.down();
    await shown.page.mouse.move(x + width / 2 + 150, y + height / 2 + 40, { steps: 5 });
    await shown.page.mouse.up();
    await settle();
  };
  const boxOf = async (): Promise<[number, number, number, number]> => {
    await shown.page.evaluate(`document.querySelector(${JSON.stringify(CANVAS)}).scrollIntoView()`);
    const box = (await (await shown.page.$(CANVAS))!.boundingBox())!;
    return [box.x, box.y, box.width, box.height];
  };
});
