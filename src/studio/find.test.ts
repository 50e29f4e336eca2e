/** Find and map, through the page: an index is made, searched, mapped, sorted and labelled; and what its routes refuse. */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import { buildIndex } from '../explore/build-index.js';
import { labelsPath } from '../explore/labels.js';
import { launchBrowser } from '../testing/browser.js';
import { giveFile, pressButton } from '../testing/page.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { openStudio, type StudioPage } from '../testing/studio.js';
import { loadModel } from '../model.js';
import { startStudio } from './index.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-find-'));
const images = path.join(folder, 'images');
const run = path.join(folder, 'run');
const index = path.join(folder, 'photos.index');
const outside = mkdtempSync(path.join(os.tmpdir(), 'dino-outside-'));
before(async () => {
  writeTinyRun(run);
  await writeColourFolders(images, 8);
  copyFileSync(path.join(images, 'red', 'red 2.png'), path.join(images, 'red', 'copy.png'));
});
after(() => {
  rmSync(folder, { recursive: true });
  rmSync(outside, { recursive: true });
});

const browser: Browser | string = await launchBrowser();
after(async () => {
  if (typeof browser !== 'string') await browser.close();
});

describe('Find and map', { skip: typeof browser === 'string' ? browser : false }, () => {
  let shown: StudioPage;
  before(async () => {
    shown = await openStudio(browser as Browser, [folder]);
  });
  after(() => shown.close());
  const type = async (selector: string, value: string): Promise<void> => {
    await shown.page.waitForSelector(selector);
    await shown.page.evaluate(`document.querySelector(${JSON.stringify(selector)}).value = ''`);
    await shown.page.type(selector, value);
  };
  const press = (words: string): Promise<void> => pressButton(shown.page, words);

  it('makes an index from the page, and opens it', async () => {
    await shown.show('#/find');
    await shown.text('h1', /Find and map/);
    await shown.check();
    await type('input[name=weights]', run);
    await type('input[name=images]', images);
    await type('input[name=output]', index);
    await press('Make it');
    await shown.text('.find p', /25 images of .*images, by .*run/, 60_000);
    assert.ok(existsSync(path.join(index, 'index.json')));
  });

  it('searches with an image that is picked, and with plus and minus', async () => {
    // these files are compiled without the browser's types
    const input = (await shown.page.waitForSelector('.drop input')) as unknown as {
      uploadFile: (file: string) => Promise<void>;
    };
    await input.uploadFile(path.join(images, 'green', 'green 3.png'));
    await shown.text('.pictures li:first-child .name', /green\/green 3\.png (1\.000|0\.99)/, 30_000);
    await press('More like green/green 3.png');
    await press('Search by these');
    await shown.text('h2', /Like the images chosen/);
    await shown.text('.pictures li:first-child .name', /green/);
    await shown.check();
  });

  it('finds near-duplicates, outliers, clusters and a subset', async () => {
    await press('Near-duplicates');
    await type('input[name=threshold]', '0.99999');
    await press('Find near-duplicates');
    await shown.text('.group .name', /red\/(copy|red 2)\.png/, 30_000);
    await press('Outliers');
    await press('Find outliers');
    await shown.text('h2', /Outliers/, 30_000);
    await press('Clusters');
    await type('input[name=clusters]', '3');
    await press('Find clusters');
    await shown.text('h2', /Clusters: 3/, 30_000);
    await shown.text('h3', /9 images/);
    await shown.check();
    await press('Select group 1');
    await press('Subset to label');
    await type('input[name=size]', '3');
    await press('Choose');
    await shown.text('h2', /Label these first/, 30_000);
  });

  it('labels the selection, proposes, accepts, and exports', async () => {
    await press('Selection and labels');
    await shown.text('.row span', /9 images selected/);
    await type('input[name=label]', 'red things');
    await press('Label them');
    await shown.text('.labels li', /red things: 9 images/);
    await type('input[name=target]', path.join(folder, 'list.txt'));
    await press('Export');
    await shown.text('[role=status]', /9 images in/, 30_000);
    const list = readFileSync(path.join(folder, 'list.txt'), 'utf8');
    assert.equal(list.trim().split('\n').length, 9);
    // a name that is taken: nothing is replaced, another is offered
    await press('Export');
    await shown.text('[role=alert]', /list\.txt already exists, and nothing is replaced/);
    const offered = (): Promise<unknown> =>
      shown.page.evaluate(`document.querySelector('input[name=target]').value`);
    assert.equal(await offered(), path.join(folder, 'list-2.txt'));
    // the browser itself logs failed replies
    assert.match(shown.errors.splice(0).join('\n'), /^.* 409 \(Conflict\)$/);
    await press('Export');
    await shown.text('[role=status]', /9 images in .*list-2\.txt/, 30_000);
    assert.equal(readFileSync(path.join(folder, 'list.txt'), 'utf8'), list);
    assert.equal(readFileSync(path.join(folder, 'list-2.txt'), 'utf8'), list);
    await shown.check();
  });

  it('keeps the labels in the index: they survive a reload, and can be removed', async () => {
    await shown.page.reload();
    await press('Selection and labels');
    await shown.text('.labels li', /red things: 9 images/);
    await press('Clusters');
    await type('input[name=clusters]', '3');
    await press('Find clusters');
    await press('Select group 1');
    await press('Selection and labels');
    await press('Propose labels for their neighbours');
    await press('Remove their labels');
    await shown.page.waitForFunction(`document.querySelector('.labels') === null`);
    await type('input[name=label]', 'red things');
    await press('Label them');
    await shown.text('.labels li', /red things: 9 images/);
    appendFileSync(labelsPath(index), 'not a line\n');
    await shown.page.reload();
    await shown.text('[role=alert]', /Left out 1 unreadable line of labels\.jsonl/);
    await press('Selection and labels');
    await shown.text('.labels li', /red things: 9 images/);
    await shown.check();
  });

  it('searches with a part of an image, given only by numbers', async () => {
    await press('Search');
    await giveFile(shown.page, '.drop input[type=file]', path.join(images, 'green', 'green 3.png'));
    await shown.text('h2', /Like the image given/, 30_000);
    await type('.drop input[name=x]', '10');
    await type('.drop input[name=width]', '60');
    await press('Search by this part');
    await shown.text('h2', /Like the part of the image/, 30_000);
    await shown.text('.pictures li:first-child .name', /green/);
    const part = await shown.page.evaluate(`(() => {
      const rect = document.querySelector('.query rect');
      return ['x', 'y', 'width', 'height'].map((name) => Number(rect.getAttribute(name)));
    })()`);
    assert.deepEqual(part, [0.1, 0.25, 0.6, 0.5]);
    await shown.check();
  });

  it('draws the map, and selects what is in view', async () => {
    await press('Map');
    await shown.page.waitForSelector('.find-map canvas', { timeout: 30_000 });
    await shown.page.waitForSelector('.find-map .canvas img', { timeout: 30_000 });
    await press('Select what is in view');
    await shown.check();
    await press('Selection and labels');
    await shown.text('.row span', /25 images selected/);
  });
});

describe('the routes of Find', () => {
  it('read and write nothing outside the given folders, and refuse what is neither an image nor an index', async () => {
    if (!existsSync(index)) {
      using model = loadModel(run, { device: 'cpu' });
      await buildIndex(model, images, { output: index, numWorkers: 0 });
    }
    const studio = await startStudio({ folders: [folder], port: 0 });
    const post = async (route: string, body: unknown): Promise<[number, string]> => {
      const response = await fetch(`${studio.origin}${route}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${studio.token}`, 'content-type': 'application/json' },
        body: body instanceof Uint8Array ? new Blob([new Uint8Array(body)]) : JSON.stringify(body),
      });
      return [response.status, await response.text()];
    };
    try {
      mkdirSync(path.join(folder, 'empty'), { recursive: true });
      const groups = [{ label: 'a', rows: [0] }];
      const asked = (at: string, question: unknown) => post('/api/find/ask', { index: at, ask: question });
      assert.equal((await asked(outside, { kind: 'about' }))[0], 403);
      assert.equal((await asked(path.join(folder, 'empty'), { kind: 'about' }))[0], 422);
      const out = { kind: 'export', how: 'list', target: path.join(outside, 'x.txt'), groups };
      assert.equal((await asked(folder, out))[0], 422);
      writeFileSync(path.join(folder, 'empty', 'index.json'), '{}');
      assert.equal((await asked(index, out))[0], 403);
      const up = { ...out, target: path.join(folder, 'y'), groups: [{ name: '../../z', rows: [0] }] };
      assert.equal((await asked(path.join(folder, 'empty'), up))[0], 400);
      const [status, words] = await asked(path.join(folder, 'empty'), { kind: 'about' });
      assert.equal(status, 422);
      assert.match(words, /is (damaged|of version)/);
      const make = { weights: run, images, output: path.join(outside, 'made') };
      assert.equal((await post('/api/find/index', make))[0], 403);
      assert.equal((await post('/api/find/index', { ...make, images: outside, output: index }))[0], 403);
      const address = `/api/upload/find?top=3&index=${encodeURIComponent(path.join(folder, 'empty'))}`;
      assert.equal((await post(address, new TextEncoder().encode('no image')))[0], 422);
      assert.deepEqual(readdirSync(outside), []);
    } finally {
      await studio.close();
    }
  });
});
