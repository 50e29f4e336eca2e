/** Failures in the section Look: a plain message where it happened, and everything else keeps working. */
import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it, type TestContext } from 'node:test';
import { crc32, deflateSync } from 'node:zlib';
import type { Browser } from 'puppeteer-core';
import sharp from 'sharp';
import { launchBrowser } from '../testing/browser.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { giveFile, lookSettled, pressButton, setSlider, textsOf } from '../testing/page.js';
import { writeOfficialWeights } from '../testing/saved-run.js';
import { openStudio, type StudioPage } from '../testing/studio.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { train } from '../train/train.js';
import { locateWeights } from '../weights/locate.js';
import { UPLOAD_LIMIT } from '../plain/limits.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-look-bad-'));
/** Files that the studio must not see. */
const outside = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-outside-'));
const images = path.join(folder, 'images');
const picture = path.join(images, 'class-0', 'image-0.png');
const run = path.join(folder, 'runs', 'whole');
const cut = path.join(folder, 'runs', 'cut');
const official = path.join(folder, 'weights', 'dino_vit_tiny16.pth');
const resnet = path.join(folder, 'weights', 'dino_resnet18.pth');
let browser: Browser | string;
let studio: StudioPage;

before(async () => {
  browser = await launchBrowser();
  await makeImageFolder(images, { classes: 1, perClass: 6 });
  await train({ images, output: run, settings: TINY_SETTINGS });
  cpSync(run, cut, { recursive: true });
  const { file } = locateWeights(cut, 'teacher');
  truncateSync(file, Math.floor(readFileSync(file).length / 2));
  writeOfficialWeights(official, 'vit_tiny');
  writeOfficialWeights(resnet, 'resnet18');
});
after(async () => {
  if (typeof browser !== 'string') await browser.close();
  for (const one of [folder, outside]) rmSync(one, { recursive: true });
});
beforeEach(async () => {
  if (typeof browser !== 'string') studio = await openStudio(browser, [folder]);
});
afterEach(async () => {
  if (typeof browser !== 'string') await studio.close();
});

const settled = () => lookSettled(studio.page);

async function open(query: Record<string, string>): Promise<void> {
  await studio.show(`#/look?${new URLSearchParams(query).toString()}`);
  await studio.page.reload();
  await studio.page.waitForSelector('input[type="file"]');
}

/** One message, in the named card only; the browser logs the status once, and no other error. */
async function failed(card: string, pattern: RegExp, status: number | null): Promise<void> {
  await studio.text(`${card} .failure`, pattern, 30_000);
  assert.equal((await textsOf(studio.page, '.failure')).length, 1, 'one message');
  const noted = studio.errors.splice(0);
  if (status === null) assert.deepEqual(noted, []);
  else assert.match(noted.join(), new RegExp(`^[^,]*status of ${status}[^,]*$`));
  await studio.check();
}

/** The page keeps working: the message disappears with its cause, and the picture is there. */
async function goesOn(count = 1): Promise<void> {
  await lookSettled(studio.page, count);
  assert.deepEqual(await textsOf(studio.page, '.failure'), []);
  await studio.check();
}

const TOP = 'main > .card:first-child';
const CHOICE = '.image-choices [aria-label="Image"]';

/** An empty PNG of one bit a pixel, so that many pixels take few bytes. */
function emptyPng(width: number, height: number): Uint8Array {
  const chunk = (type: string, data: Uint8Array): Buffer => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    check.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, check]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header[8] = 1;
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(new Uint8Array(height * (1 + Math.ceil(width / 8))))),
    chunk('IEND', new Uint8Array()),
  ]);
}

describe('the section Look, when something is wrong', () => {
  /** Gives the file, expects the message, then gives a good one. */
  const refuses = (
    what: string,
    name: string,
    make: (file: string) => void | Promise<void>,
    expected: { card: string; pattern: RegExp; status: number | null },
  ): void => {
    it(`says so of ${what}`, async (t: TestContext) => {
      if (typeof browser === 'string') return t.skip(browser);
      const file = path.join(outside, name);
      await make(file);
      const sent: string[] = [];
      studio.page.on('request', (request) => {
        if (request.method() === 'POST') sent.push(request.url());
      });
      await open({ weights: run });
      await giveFile(studio.page, 'input[type="file"]', file);
      await failed(expected.card, expected.pattern, expected.status);
      if (expected.status === null) assert.deepEqual(sent, [], 'nothing was sent');
      await giveFile(studio.page, 'input[type="file"]', picture);
      await goesOn();
    });
  };

  refuses('a file that is no image', 'notes.png', (file) => writeFileSync(file, 'no image'), {
    ...{ card: CHOICE, pattern: /not a JPEG, PNG, WebP/, status: 422 },
  });
  refuses(
    'an image whose second half is missing',
    'half.png',
    async (file) => {
      const whole = await sharp(
        new Uint8Array(300 * 300 * 3).map((_, i) => (i * 7919) >> 3),
        {
          raw: { width: 300, height: 300, channels: 3 },
        },
      )
        .png()
        .toBuffer();
      writeFileSync(file, whole.subarray(0, whole.length / 2));
    },
    { card: TOP, pattern: /damaged PNG: the end of the file is missing/, status: 422 },
  );
  refuses(
    'a file of more than 64 MiB, before it is sent',
    'large.png',
    (file) => {
      writeFileSync(file, '');
      truncateSync(file, UPLOAD_LIMIT + 2 ** 20);
    },
    { card: CHOICE, pattern: /65 MiB, more than the 64 MiB/, status: null },
  );
  refuses(
    'an image of too many pixels',
    'wide.png',
    (file) => writeFileSync(file, emptyPng(20_000, 20_000)),
    { card: CHOICE, pattern: /PNG of more than 178956970 pixels/, status: 422 },
  );

  it('says that a model was deleted while it was shown', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const moved = `${official}.moved`;
    try {
      await open({ weights: official, image: picture });
      await settled();
      renameSync(official, moved);
      await setSlider(studio.page, 'Resolution', 192);
      await failed(TOP, /dino_vit_tiny16\.pth.*does not exist/, 404);
      // the card with the slider is gone, the address keeps its size
      await pressButton(studio.page, 'Usual size');
      await studio.page.waitForFunction(`!location.hash.includes('size=')`);
      await failed(TOP, /dino_vit_tiny16\.pth.*does not exist/, 404);
      await studio.page.select('main select', run);
      await goesOn();
    } finally {
      if (existsSync(moved)) renameSync(moved, official);
    }
  });

  it('shows an image that is too long for the chosen resolution at the largest that fits', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const long = path.join(folder, 'long.png');
    await sharp(picture).resize(800, 80, { fit: 'fill' }).toFile(long);
    for (const size of ['1024', '100.5', '1']) {
      await open({ weights: official, image: long, second: picture, size });
      await lookSettled(studio.page, 2);
      const [first, second] = await textsOf(studio.page, '.seen figcaption');
      assert.match(second!, /image-0\.png: \d+ × \d+ patch(es)?$/);
      if (size === '1024')
        assert.match(first!, /: 20 × 20\d patches. It is computed at 320 pixels: .* more than 4,096 patches/);
      else assert.match(first!, size === '1' ? /: 1 × 10 patches$/ : /: 6 × 6\d patches$/);
      await goesOn(2);
      await studio.page.waitForSelector('::-p-aria([name="Resolution"][role="slider"])');
    }
  });

  it('says that a checkpoint’s file is damaged', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    await open({ weights: cut, image: picture });
    await failed(TOP, /teacher\.safetensors/, 422);
    await studio.page.select('main select', run);
    await goesOn();
  });

  it('says that a ResNet has no attention to show', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    await open({ weights: resnet, image: picture });
    await failed(TOP, /resnet18 has no attention to show/, 422);
    await studio.page.select('main select', official);
    await goesOn();
  });
});
