/** An index of 100,000 images in the studio: its grid holds what is in view, and comes back to where it was. */
import assert from 'node:assert/strict';
import { existsSync, linkSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import sharp from 'sharp';
import { readManifest, sampleIndexedImages } from '../explore/index-format.js';
import { launchBrowser } from '../testing/browser.js';
import { clusteredRows, featureIndex } from '../testing/feature-index.js';
import { slide } from '../testing/page.js';
import { openStudio, type StudioPage } from '../testing/studio.js';

const COUNT = 100_000;
/** Images at both ends that have a file: those in between are never in view here. */
const FILES = 600;
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-find-many-'));
const at = path.join(folder, 'many.index');
const browser: Browser | string = await launchBrowser();

describe('an index of many images', { skip: typeof browser === 'string' ? browser : false }, () => {
  let shown: StudioPage;
  before(async () => {
    mkdirSync(path.join(at, 'images'), { recursive: true });
    const file = path.join(folder, 'one.jpg');
    const background = { r: 40, g: 120, b: 170 };
    await sharp({ create: { width: 400, height: 400, channels: 3, background } })
      .jpeg()
      .toFile(file);
    for (let i = 0; i < FILES; i++)
      for (const row of [i, COUNT - 1 - i]) linkSync(file, path.join(at, 'images', `${row}.jpg`));
    const index = await featureIndex(at, clusteredRows(COUNT, 2, 5, 0.3), 2);
    index.close();
    shown = await openStudio(browser as Browser, [folder]);
    await shown.page.setViewport({ width: 1440, height: 900 });
    await shown.show(`#/find?${new URLSearchParams({ index: at }).toString()}`);
    await shown.text('.grid-head [role=status]', /^100,000 images$/, 60_000);
    await drawn(0);
  });
  after(async () => {
    await shown.close();
    await (browser as Browser).close();
    rmSync(folder, { recursive: true });
  });

  /** Waits until a row's picture is in view. */
  const drawn = async (row: number): Promise<void> => {
    const inView = `(() => {
      const grid = document.querySelector('.virtual-grid')?.getBoundingClientRect();
      const image = document.querySelector('.picture[aria-label="Open ${row}.jpg"] img');
      const box = image?.getBoundingClientRect();
      return box !== undefined && image.naturalWidth > 0 && box.top >= grid.top - 1 && box.bottom <= grid.bottom + 1;
    })()`;
    await shown.page.waitForFunction(inView, { timeout: 15_000 }).catch(async (error: Error) => {
      const seen =
        await evaluate(`[document.querySelector('.virtual-grid').scrollTop, document.activeElement.ariaLabel,
        ...[...document.querySelectorAll('.virtual-grid .picture')].map((one) => one.ariaLabel + ' ' + one.querySelector('img')?.naturalWidth)].join()`);
      throw new Error(`row ${row}: ${error.message}; there: ${String(seen)}`);
    });
  };
  const evaluate = (text: string): Promise<unknown> => shown.page.evaluate(text);
  const cells = (): Promise<unknown> => evaluate(`document.querySelectorAll('.virtual-grid li').length`);
  const scrolled = async (): Promise<number> =>
    Number(await evaluate(`document.querySelector('.virtual-grid').scrollTop`));

  it('has only what is in view in the page, from the first to the last', async () => {
    assert.ok(Number(await cells()) < 200, `${String(await cells())} cells`);
    await shown.page.focus('.virtual-grid .picture');
    await shown.page.keyboard.press('End');
    await drawn(COUNT - 1);
    assert.equal(await evaluate('document.activeElement.ariaLabel'), `Open ${COUNT - 1}.jpg`);
    assert.ok(Number(await cells()) < 200, `${String(await cells())} cells at its end`);
    assert.deepEqual(
      await evaluate(
        `(({ ariaSetSize, ariaPosInSet }) => [ariaSetSize, ariaPosInSet])(document.activeElement.closest('li'))`,
      ),
      [String(COUNT), String(COUNT)],
    );
    await shown.page.keyboard.press('Home');
    await drawn(0);
    assert.deepEqual(shown.errors, []);
  });

  it('leaves the focus where it is when the page is drawn anew while it scrolls fast', async () => {
    const focused = await evaluate(`(async () => {
      const frame = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      const grid = document.querySelector('.virtual-grid');
      const pictures = [...grid.querySelectorAll('.picture')];
      const one = pictures[Math.floor(pictures.length / 2)];
      one.focus();
      await frame();
      grid.scrollTop += 0.4 * grid.clientHeight;
      await frame();
      for (const type of ['keydown', 'keyup'])
        one.dispatchEvent(new KeyboardEvent(type, { key: ' ', bubbles: true }));
      await frame();
      return document.activeElement === one;
    })()`);
    assert.equal(focused, true);
    await shown.page.keyboard.press(' ');
    await shown.page.keyboard.press('Home');
    await drawn(0);
  });

  it('asks for pictures of the size in which they are drawn', async () => {
    const sizes: number[] = [];
    for (const side of [64, 132, 320]) {
      await slide(shown.page, 'Size', side);
      await shown.page.waitForFunction(
        `location.hash.includes('side=${side}') && document.querySelector('.virtual-grid li').getBoundingClientRect().width >= ${side}`,
      );
      await drawn(0);
      const address = String(await evaluate(`document.querySelector('.virtual-grid img').src`));
      sizes.push(Number(/[?&]size=(\d+)/.exec(address)![1]));
      const width = Number(
        await evaluate(`document.querySelector('.virtual-grid li').getBoundingClientRect().width`),
      );
      assert.ok(sizes.at(-1)! >= width && sizes.at(-1)! < 2.5 * width, `${sizes.at(-1)} for ${width}`);
    }
    assert.equal(new Set(sizes).size, 3, sizes.join());
    await slide(shown.page, 'Size', 132);
    await drawn(0);
  });

  it('is where it was after a reload', async () => {
    for (const key of ['a little', 'End'] as const) {
      if (key === 'End') {
        await shown.page.focus('.virtual-grid .picture[tabindex="0"]');
        await shown.page.keyboard.press(key);
        await drawn(COUNT - 1);
      } else await evaluate(`document.querySelector('.virtual-grid').scrollTop = 700`);
      const before = await scrolled();
      assert.ok(before >= 700);
      const kept = `Object.entries(sessionStorage).some(([name, value]) => name.startsWith('scroll ') && Math.abs(value - ${before}) <= 1)`;
      await shown.page.waitForFunction(kept);
      await shown.page.reload();
      await shown.page.waitForSelector('.virtual-grid .picture', { timeout: 30_000 });
      await shown.page.waitForFunction(
        `Math.abs(document.querySelector('.virtual-grid').scrollTop - ${before}) <= 1`,
        { timeout: 30_000 },
      );
      if (key === 'End') await drawn(COUNT - 1);
    }
    // narrower, it would be somewhere else
    await shown.page.focus('.virtual-grid .picture[tabindex="0"]');
    await shown.page.keyboard.press('Home');
    await drawn(0);
    await shown.check();
  });

  it('says that indexes may be missing where there are more folders than are looked through', async () => {
    const words = /^There are more folders than are looked through here/;
    const home = async (): Promise<void> => {
      await shown.show('#/find');
      await shown.text('.index-cards strong', /^many\.index$/, 30_000);
    };
    // its card has pictures from between the ends
    for (const name of sampleIndexedImages(at, readManifest(at), 6)) {
      const picture = path.join(at, 'images', name);
      if (!existsSync(picture)) linkSync(path.join(folder, 'one.jpg'), picture);
    }
    await home();
    assert.equal(await evaluate(`document.querySelector('.find > .note')`), null);
    await shown.show('#/runs');
    for (let i = 0; i < 5000; i++) mkdirSync(path.join(folder, 'crowd', String(i)), { recursive: true });
    await home();
    await shown.text('.find > .note', words);
    await shown.check();
  });
});
