/** Images of unusual shapes and kinds in an exported page: very long ones, transparent ones, those with a colour profile. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser, Page } from 'puppeteer-core';
import sharp from 'sharp';
import { decodeImage } from '../../data/index.js';
import { Model } from '../../model.js';
import { buildBackbone } from '../../models/index.js';
import type { GalleryImage } from '../../plain/web-manifest.js';
import { pageProblems } from '../../testing/accessibility.js';
import { launchBrowser, openPage, serveFolders } from '../../testing/browser.js';
import { hashFill } from '../../testing/hash-fill.js';
import { makeImageFolder } from '../../testing/image-folder.js';
import { giveFile, pressButton, setSlider, textsOf } from '../../testing/page.js';
import { exportWeb } from './export-web.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-web-images-'));
const images = path.join(folder, 'images');
const site = path.join(folder, 'site');
let model: Model;

/** Colours that change slowly, seen only in the middle: outside it their alpha is 0, around it in between. */
async function writeTransparent(file: string, width: number, height: number): Promise<void> {
  const rgba = Uint8Array.from({ length: width * height * 4 }, (_, i) => {
    const [x, y] = [(Math.floor(i / 4) % width) / width, Math.floor(i / 4 / width) / height];
    const alpha = 1.5 - 4 * Math.hypot(x - 0.5, y - 0.5);
    return [255 * x, 255 * y, 200 - 100 * x, 255 * Math.min(1, Math.max(0, alpha))][i % 4]!;
  });
  await sharp(rgba, { raw: { width, height, channels: 4 } })
    .png()
    .toFile(file);
}

const ODD = ['clear-large.png', 'clear-small.png', 'profile-large.png', 'profile-small.png'] as const;

before(async () => {
  const sizes = { arch: 'resnet_class_attention', embedDim: 32, depth: 3, imgSize: 32 } as const;
  const told = { ...sizes, numHeads: 8, patchSize: 8 };
  model = new Model(hashFill(buildBackbone(sizes), 0.5).eval(), told, 'memory', 'cpu');
  await makeImageFolder(images, { classes: 1, perClass: 4 });
  const odd = path.join(images, 'class-0');
  mkdirSync(odd, { recursive: true });
  for (const [name, side] of [
    ['large', 300],
    ['small', 60],
  ] as const) {
    await writeTransparent(path.join(odd, `clear-${name}.png`), side, side - 20);
    const background = { r: 40, g: 220, b: 60 };
    await sharp({ create: { width: side, height: side, channels: 3, background } })
      .withIccProfile('p3')
      .png()
      .toFile(path.join(odd, `profile-${name}.png`));
  }
  await sharp(
    Uint8Array.from({ length: 1100 * 10 * 3 }, (_, i) => (i * 7) % 256),
    {
      raw: { width: 1100, height: 10, channels: 3 },
    },
  )
    .png()
    .toFile(path.join(odd, 'long.png'));
  await exportWeb(model, site, { images, whiten: 'none' });
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

it('pictures for the model have the pixels that features are made of: no transparency, no colour profile', async () => {
  const entries = JSON.parse(
    readFileSync(path.join(site, 'gallery', 'images.json'), 'utf8'),
  ) as GalleryImage[];
  for (const name of ODD) {
    const original = path.join(images, 'class-0', name);
    const picture = path.join(site, entries.find((one) => one.name === `class-0/${name}`)!.picture!);
    const { hasAlpha } = await sharp(picture).metadata();
    assert.equal(hasAlpha, false, name);
    const [seen, own] = [await decodeImage(picture), await decodeImage(original)];
    assert.deepEqual([seen.width, seen.height], [own.width, own.height], name);
    const mean = own.data.reduce((sum, value, i) => sum + Math.abs(value - seen.data[i]!), 0);
    assert.ok(mean / own.data.length < 4, `${name}: off by ${mean / own.data.length} of 255`);
  }
});

describe('the page', () => {
  let browser: Browser | string;
  let server: Awaited<ReturnType<typeof serveFolders>>;
  let opened: Awaited<ReturnType<typeof openPage>>;
  before(async () => {
    browser = await launchBrowser();
    if (typeof browser === 'string') return;
    server = await serveFolders({ '/site': site });
    opened = await openPage(browser, server.origin);
    await opened.page.setViewport({ width: 1200, height: 1000 });
  });
  after(async () => {
    if (typeof browser === 'string') return;
    await browser.close();
    await server.close();
  });

  const page = (): Page => opened.page;
  const show = async (query: Record<string, string>): Promise<void> => {
    await page().goto('about:blank');
    await page().goto(`${server.origin}/site/index.html#/?${new URLSearchParams(query).toString()}`);
  };
  const shows = async (caption: RegExp): Promise<void> => {
    try {
      await page().waitForFunction(
        `document.querySelector('#status')?.dataset.state === 'ready' &&
         ${String(caption)}.test(document.querySelector('.seen figcaption')?.innerText)`,
        { timeout: 60_000, polling: 50 },
      );
    } catch (error) {
      assert.fail([String(error), ...(await textsOf(page(), 'main')), ...opened.errors].join('\n'));
    }
  };
  const isFine = async (): Promise<void> => {
    assert.deepEqual(await textsOf(page(), '.failure'), []);
    assert.deepEqual(await pageProblems(page()), []);
    assert.deepEqual([...opened.errors, ...opened.stopped], []);
  };

  it('shows a very long image at the largest resolution that fits, says so, and keeps the slider', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    await show({ image: 'class-0/long.png' });
    await shows(
      /long\.png: 6 × \d+ patches. It is computed at 48 pixels: larger, it would have more than 4,096/,
    );
    await isFine();
    await setSlider(page(), 'Resolution', 480);
    await shows(
      /long\.png: 8 × \d+ patches. It is computed at 64 pixels: larger, it would have more than 8,192/,
    );
    await page().reload();
    await shows(/more than 8,192 patches/);
    assert.equal(
      await page().evaluate(`new URLSearchParams(location.hash.split('?')[1]).get('size')`),
      '480',
    );
    await isFine();
    await setSlider(page(), 'Resolution', 32);
    await shows(/long\.png: 4 × \d+ patches$/);
  });

  it('leads back to the usual size where an image fails at another', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    await show({ image: 'class-0/image-0.png', size: '64' });
    await shows(/image-0\.png: 8 × 8 patches/);
    const bad = path.join(folder, 'bad.png');
    writeFileSync(bad, 'not an image');
    await giveFile(page(), 'input[type="file"]', bad);
    await page().waitForSelector('.failure');
    await pressButton(page(), 'Usual size');
    await page().waitForFunction(`!location.hash.includes('size=')`);
    await page().waitForFunction(`document.querySelector('.failure button') === null`);
  });

  it('sees the colours below what is transparent in an image that is given, as features do', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const query = path.join(images, 'class-0', 'clear-large.png');
    await show({ image: 'class-0/image-0.png' });
    await shows(/image-0\.png/);
    await giveFile(page(), 'input[type="file"]', query);
    await shows(/^clear-large\.png/);
    const all = await model.embed(images);
    const own = all.paths.indexOf(query);
    const unit = all.paths.map((_, i) => {
      const row = all.features.subarray(i * 32, (i + 1) * 32);
      return row.map((value) => value / Math.hypot(...row));
    });
    const found = (await page().evaluate(
      `[...document.querySelectorAll('.gallery button')].map(({ dataset }) => [dataset.name, Number(dataset.cosine)])`,
    )) as [string, number][];
    assert.equal(found.length, all.paths.length);
    for (const [name, cosine] of found) {
      const i = all.paths.indexOf(path.join(images, ...name.split('/')));
      const ours = unit[i]!.reduce((sum, value, d) => sum + value * unit[own]![d]!, 0);
      assert.ok(Math.abs(cosine - ours) < 2e-3, `${name}: ${cosine}, ours ${ours}`);
    }
  });
});
