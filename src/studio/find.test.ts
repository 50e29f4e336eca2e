/** Find and map, through the page: an index is made, searched and sorted; and what its routes refuse. */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import sharp from 'sharp';
import { buildIndex } from '../explore/build-index.js';
import { duplicateThreshold, similarPairs } from '../explore/duplicates.js';
import { ImageIndex } from '../explore/image-index.js';
import { findGeneration } from '../testing/find-generation.js';
import { launchBrowser } from '../testing/browser.js';
import { giveFile, lookSettled, pressButton, pressRole, slide, typeInto, valueOf } from '../testing/page.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { openStudio, type StudioPage } from '../testing/studio.js';
import { loadModel } from '../model.js';
import { startStudio } from './index.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-find-'));
const images = path.join(folder, 'images');
const run = path.join(folder, 'run');
const index = path.join(folder, 'photos.index');
const wide = path.join(folder, 'wide.png');
const outside = mkdtempSync(path.join(os.tmpdir(), 'dino-outside-'));
before(async () => {
  writeTinyRun(run);
  await writeColourFolders(images, 8);
  copyFileSync(path.join(images, 'red', 'red 2.png'), path.join(images, 'red', 'copy.png'));
  await sharp({ create: { width: 120, height: 40, channels: 3, background: { r: 0, g: 150, b: 0 } } })
    .png()
    .toFile(wide);
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
    await shown.page.setViewport({ width: 1440, height: 900 });
  });
  after(() => shown.close());
  const press = (words: string): Promise<void> => pressButton(shown.page, words);
  const view = (words: string): Promise<void> => pressRole(shown.page, 'tab', words);
  const tray = (pattern: RegExp): Promise<string> => shown.text('.tray [role=status]', pattern);
  const address = (): Promise<string> => shown.page.evaluate('location.hash') as Promise<string>;
  const back = (): Promise<unknown> => shown.page.evaluate('history.back()');
  /** Names of the images in the grid, of those that are drawn. */
  const drawn = (): Promise<string[]> =>
    shown.page.evaluate(
      `[...document.querySelectorAll('.virtual-grid .picture')].map((one) => one.ariaLabel.replace('Open ', ''))`,
    ) as Promise<string[]>;

  /** Waits until the first image of the grid is one of these. */
  const firstIs = (pattern: RegExp): Promise<unknown> =>
    shown.page.waitForFunction(
      `${String(pattern)}.test(document.querySelector('.virtual-grid .picture')?.ariaLabel ?? '')`,
    );

  /** Drags over an image, from (10 %, 25 %) to (70 %, 75 %). */
  const drawPart = async (selector: string): Promise<void> => {
    const box = (await (await shown.page.waitForSelector(selector))!.boundingBox())!;
    const to = (x: number, y: number) => shown.page.mouse.move(box.x + x * box.width, box.y + y * box.height);
    await to(0.1, 0.25);
    await shown.page.mouse.down();
    await to(0.5, 0.5);
    await to(0.7, 0.75);
    await shown.page.mouse.up();
  };
  /** The part of an image that is marked, in percent. */
  const fields = (): Promise<unknown> =>
    shown.page.evaluate(
      `[...document.querySelectorAll('.part-fields input')].map((one) => Math.round(Number(one.value)))`,
    );

  it('makes an index of a folder that is picked, by a model of a list, and shows its images at once', async () => {
    await shown.show('#/find');
    await shown.text('h2', /Explore a folder of images/);
    await shown.check();
    await pressRole(shown.page, 'link', 'Choose a folder of images');
    await shown.page.waitForSelector('.folder-list button');
    await shown.page.click('.folder-list button');
    await shown.text('.folder-list button', /^images/);
    await shown.check();
    await shown.page.evaluate(
      `[...document.querySelectorAll('.folder-list button')].find((one) => one.innerText.startsWith('images')).click()`,
    );
    await shown.text('.pick-folder code', /images$/);
    await press('Use this folder');
    await shown.text('select', /run \(a run, its newest checkpoint\)/);
    // the choice is in the address
    await shown.page.reload();
    await shown.text('.stack code', /images$/);
    assert.equal(await valueOf(shown.page, 'input[name=output]'), `${images}.index`);
    await typeInto(shown.page, 'input[name=output]', index);
    await shown.check();
    await press('Make the index');
    await shown.text('h1', /photos\.index/, 60_000);
    assert.ok(existsSync(path.join(index, 'index.json')));
    await shown.text('.grid-head [role=status]', /^25 images$/);
    assert.equal((await drawn()).length, 25);
    await shown.page.waitForFunction(
      `[...document.querySelectorAll('.virtual-grid img')].every((one) => one.complete && one.naturalWidth > 0)`,
    );
    await shown.page.waitForSelector('.find-map .canvas[aria-busy="false"] canvas', { timeout: 30_000 });
    await shown.check();
  });

  it('lists the indexes of the folders as cards with pictures', async () => {
    await pressRole(shown.page, 'link', 'All indexes');
    await shown.text('.index-card', /photos\.index\s+25 images\s+images, by run/);
    await shown.page.waitForFunction(
      `[...document.querySelectorAll('.index-card img')].filter((one) => one.naturalWidth > 0).length >= 4`,
    );
    await shown.check();
    await shown.page.click('.index-card');
    await shown.text('.grid-head [role=status]', /^25 images$/);
  });

  it('scrolls what is long as a layer of its own, so that the page around it is not drawn again', async () => {
    const session = await shown.page.createCDPSession();
    const layers = new Set<string>();
    session.on('LayerTree.layerTreeDidChange', ({ layers: some = [] }) => {
      for (const { drawsContent, width, height } of some) if (drawsContent) layers.add(`${width} ${height}`);
    });
    try {
      for (const [address, selector] of [
        [{}, '.virtual-grid'],
        [{ view: 'clusters', clusters: '3' }, '.find .groups'],
      ] as const) {
        const query = new URLSearchParams({ index, side: '320', ...address });
        await shown.show(`#/find?${query.toString()}`);
        await shown.page.waitForFunction(
          `(({ scrollHeight, clientHeight }) => scrollHeight > clientHeight)(document.querySelector('${selector}') ?? {})`,
        );
        layers.clear();
        await session.send('LayerTree.enable');
        await shown.page.hover(selector);
        const { scrollWidth, scrollHeight } = (await shown.page.evaluate(
          `(({ scrollWidth, scrollHeight }) => ({ scrollWidth, scrollHeight }))(document.querySelector('${selector}'))`,
        )) as { scrollWidth: number; scrollHeight: number };
        for (let left = 100; !layers.has(`${scrollWidth} ${scrollHeight}`); left--) {
          assert.ok(
            left > 0,
            `${selector}: ${scrollWidth} ${scrollHeight} is not among ${[...layers].join()}`,
          );
          await shown.page.mouse.wheel({ deltaY: left % 2 === 0 ? 40 : -40 });
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
        await session.send('LayerTree.disable');
      }
    } finally {
      await session.detach();
      await shown.show(`#/find?${new URLSearchParams({ index }).toString()}`);
      await shown.page.waitForSelector('.virtual-grid .picture');
    }
  });

  it('marks images by keys and buttons, says so in the tray, and keeps it over a reload', async () => {
    await tray(/^0 selected, 0 like, 0 unlike/);
    await shown.page.focus('.virtual-grid .picture');
    for (const key of ['ArrowRight', 'Space', 'ArrowRight', '+'] as const)
      await shown.page.keyboard.press(key);
    await press('Less like blue/blue 4.png');
    await tray(/^1 selected, 1 like, 1 unlike/);
    const marked = () =>
      shown.page.evaluate(
        `['selected', 'liked', 'unliked'].map((mark) => document.querySelector('li.' + mark + ' .picture')?.ariaLabel)`,
      );
    const expected = ['Open blue/blue 1.png', 'Open blue/blue 2.png', 'Open blue/blue 4.png'];
    assert.deepEqual(await marked(), expected);
    // each mark is seen on the picture, and on the button that was pressed
    const seen = (await shown.page.evaluate(`(() => {
      const frame = (item) => {
        const { borderTopWidth, borderTopColor } = getComputedStyle(item.querySelector('.picture .thumb'));
        return borderTopWidth === '0px' ? 'none' : borderTopColor;
      };
      const pressed = (item) => [...item.querySelectorAll('.marks button')].map((one) =>
        [one.ariaPressed, getComputedStyle(one).backgroundColor]);
      return ['selected', 'liked', 'unliked'].map((mark) => document.querySelector('li.' + mark))
        .concat([...document.querySelectorAll('.virtual-grid li')].at(-1))
        .map((item) => ({ frame: frame(item), buttons: pressed(item) }));
    })()`)) as { frame: string; buttons: [pressed: string, background: string][] }[];
    assert.equal(new Set(seen.map(({ frame }) => frame)).size, 4, JSON.stringify(seen));
    assert.equal(seen[3]!.frame, 'none', 'what is not marked has no frame');
    const backgrounds = seen.map(({ buttons }, i) => {
      assert.deepEqual(
        buttons.map(([isPressed]) => isPressed),
        [0, 1, 2].map((button) => String(button === i)),
      );
      return buttons.find(([isPressed]) => isPressed === 'true')?.[1] ?? buttons[0]![1];
    });
    assert.equal(new Set(backgrounds).size, 4, 'pressed buttons differ from one another and from the others');
    await shown.check();
    await shown.page.reload();
    await tray(/^1 selected, 1 like, 1 unlike/);
    assert.deepEqual(await marked(), expected);
    // an image is not liked and unliked at once
    await press('More like blue/blue 4.png');
    await tray(/^1 selected, 2 like, 0 unlike/);
    await press('Undo');
    await tray(/^1 selected, 1 like, 1 unlike/);
    await press('Clear');
    await tray(/^0 selected, 0 like, 0 unlike/);
    await press('Undo');
    await tray(/^1 selected, 1 like, 1 unlike/);
  });

  it('searches by marks, and by an image that is given, as it is; Back and reload bring back what was found', async () => {
    await pressButton(shown.page, 'Search');
    await shown.text('.asked', /Like\s+and unlike/);
    await shown.text('.grid-head [role=status]', /^23 images$/);
    await view('Search');
    await giveFile(shown.page, '.query input[type=file]', wide);
    await shown.text('.asked summary', /Like the given image/, 30_000);
    await shown.text('.grid-head [role=status]', /^25 images$/);
    await firstIs(/green/);
    await shown.text('.caption', /^\d+(\.\d+)? % green/);
    const shape = () =>
      shown.page.evaluate(`(() => {
        const { width, height } = document.querySelector('.region-image').getBoundingClientRect();
        return width / height;
      })()`) as Promise<number>;
    await shown.page.waitForFunction(
      `(({ width, height }) => Math.abs(width / height - 3) < 0.05)(document.querySelector('.region-image').getBoundingClientRect())`,
    );
    assert.ok(Math.abs((await shape()) - 3) < 0.05);
    const found = await address();
    await shown.check();
    await shown.page.reload();
    await shown.text('.asked summary', /Like the given image/);
    await firstIs(/green/);
    await back();
    await shown.text('.asked', /Like\s+and unlike/);
    await shown.page.evaluate('history.forward()');
    await shown.text('.asked summary', /Like the given image/);
    assert.equal(await address(), found);
  });

  it('searches by a part that is drawn, which the fields follow, or typed', async () => {
    await drawPart('.region-image');
    assert.deepEqual(await fields(), [10, 25, 60, 50]);
    await press('Search by this part');
    await shown.text('.asked summary', /Like a part of the given image/, 30_000);
    await shown.text('.grid-head [role=status]', /^25 images$/);
    await typeInto(shown.page, '.part-fields label:nth-of-type(3) input', '40');
    await press('Search by this part');
    await shown.page.waitForFunction(`decodeURIComponent(location.hash).includes('part=0.1,0.25,0.4,0.5')`);
    await firstIs(/green/);
    await shown.check();
  });

  it('finds clusters by a slider, and a changed address shows what it says', async () => {
    await view('Clusters');
    await shown.text('.slider output', /^\d+$/);
    await slide(shown.page, 'Clusters', 3);
    await shown.text('.grid-head [role=status]', /^3 groups, 25 images$/);
    await shown.text('.slider output', /^3$/);
    await shown.text('.group h2', /Cluster 1: 9 images/);
    await press('Automatic');
    await shown.page.waitForFunction(`!location.hash.includes('clusters=3')`);
    // what was chosen is shown, not 0
    await shown.text('.slider output', /^[1-9]\d*$/);
    await shown.check();
    const other = (await address()).replace('view=clusters', 'view=outliers');
    await shown.page.evaluate(`location.hash = ${JSON.stringify(other)}`);
    await shown.text('[role=tab][aria-selected=true]', /Outliers/);
    await shown.text('.caption', /^[+-]?\d+\.\d /);
    assert.equal(await shown.page.$('.group'), null);
    await back();
    await shown.text('.group h2', /Cluster 1/);
  });

  it('finds duplicates by a slider, with a live count and pairs on both sides of it', async () => {
    await view('Duplicates');
    // the slider begins where the similarities of these images say
    using opened = ImageIndex.open(index);
    const usual = await duplicateThreshold(opened);
    const { pairs } = await similarPairs(opened, 1000);
    const same = pairs.filter(({ similarity }) => similarity >= usual).length;
    await shown.text('.live', new RegExp(`^${same} pairs?, \\d+ of 25 images$`), 30_000);
    await shown.text('.slider output', new RegExp(`^${usual.toFixed(3)}$`));
    await slide(shown.page, 'Similarity threshold', 0.99999);
    await shown.text('.live', /^\d+ pairs?, \d of 25 images$/);
    await shown.text('.group .caption', /copy\.png/);
    // either image of a pair is opened
    const pictures = '.examples figure:first-child li:first-child .picture';
    const names = (await shown.page.evaluate(
      `[...document.querySelectorAll('${pictures}')].map((one) => one.ariaLabel.replace('Open ', ''))`,
    )) as string[];
    assert.equal(names.length, 2);
    for (const [i, name] of names.entries()) {
      await shown.page.click(`${pictures}:nth-of-type(${i + 1})`);
      await shown.page.waitForFunction(
        `document.querySelector('dialog h2')?.innerText === ${JSON.stringify(name)}`,
      );
      await shown.page.keyboard.press('Escape');
      await shown.page.waitForFunction(`document.querySelector('dialog') === null`);
    }
    await shown.check();
  });

  it('keeps what was asked in each tab, and goes through the tabs by keys', async () => {
    const current = (words: RegExp): Promise<string> => shown.text('[role=tab][aria-selected=true]', words);
    await shown.page.focus('[role=tab][aria-selected=true]');
    for (const [key, words] of [
      ['ArrowRight', /^Outliers$/],
      ['ArrowLeft', /^Duplicates$/],
      ['End', /^Labels$/],
      ['ArrowRight', /^All images$/],
      ['ArrowRight', /^Search$/],
    ] as const) {
      await shown.page.keyboard.press(key);
      await current(words);
      assert.equal(await shown.page.evaluate('document.activeElement.ariaSelected'), 'true', key);
    }
    await shown.text('.asked summary', /Like a part of the given image/);
    assert.deepEqual(await fields(), [10, 25, 40, 50]);
    await view('Clusters');
    await shown.text('.group h2', /Cluster 1/);
    await view('Duplicates');
    await shown.text('.slider output', /^1\.000$/);
    assert.match(await address(), /threshold=0\.99999/);
    await shown.text('.live', /^\d+ pairs?, \d of 25 images$/);
    await press('Automatic');
    await shown.page.waitForFunction(`!location.hash.includes('threshold')`);
  });

  it('orders all by how odd they are, and chooses what to label first', async () => {
    await view('Outliers');
    await shown.text('.grid-head [role=status]', /^25 images$/);
    await view('Label first');
    await slide(shown.page, 'Images to label first', 3);
    await shown.text('.grid-head [role=status]', /^3 images$/, 30_000);
    await shown.check();
  });

  it('opens an image large: arrow keys go on, numbers label, undo takes back', async () => {
    await view('All images');
    await press('Open blue/blue 0.png');
    await shown.text('dialog h2', /blue\/blue 0\.png/);
    await shown.page.waitForSelector('.neighbours img');
    await shown.check();
    await typeInto(shown.page, 'dialog input[name=label]', 'sky');
    await press('Label it');
    await shown.text('dialog h3', /Label: sky/);
    await shown.page.focus('dialog header button:not(:disabled)');
    await shown.page.keyboard.press('ArrowRight');
    await shown.text('dialog h2', /blue\/blue 1\.png/);
    await shown.page.keyboard.press('1');
    await shown.text('dialog h3', /Label: sky/);
    await shown.page.keyboard.down('Control');
    await shown.page.keyboard.press('z');
    await shown.page.keyboard.up('Control');
    await shown.text('dialog h3', /^Label$/);
    for (const [key, label] of [
      ['1', /Label: sky/],
      ['0', /^Label$/],
      ['1', /Label: sky/],
    ] as const) {
      await shown.page.keyboard.press(key);
      await shown.text('dialog h3', label);
    }
    await shown.page.reload();
    await shown.text('dialog h2', /blue\/blue 1\.png/);
    const look = (await shown.page.evaluate(
      `decodeURIComponent(document.querySelector('dialog a').hash)`,
    )) as string;
    assert.match(look, /#\/look\?weights=.*run&image=.*blue\/blue\+1\.png/);
    await pressRole(shown.page, 'link', 'Look at it');
    await shown.text('main h1', /^Look$/);
    await lookSettled(shown.page);
    await shown.text('.seen figcaption', /^blue 1\.png: \d+ × \d+ patches/);
    await back();
    await shown.text('dialog h2', /blue\/blue 1\.png/);
    // a part of it, once it has its shape
    await shown.page.waitForFunction(`(() => {
      const image = document.querySelector('dialog .region-image img');
      const { width, height } = image?.getBoundingClientRect() ?? {};
      return image?.naturalWidth > 0 && Math.abs(width / height - image.naturalWidth / image.naturalHeight) < 0.01;
    })()`);
    await drawPart('dialog .region-image');
    assert.deepEqual(await fields(), [10, 25, 60, 50]);
    await press('Search by this part');
    await shown.text('.asked summary', /Like a part of blue\/blue 1\.png/);
    await shown.text('.grid-head [role=status]', /^25 images$/, 30_000);
    assert.equal(await shown.page.$('dialog'), null);
    await back();
    await shown.text('dialog h2', /blue\/blue 1\.png/);
    await press('More like this');
    await shown.text('.asked summary', /Like blue\/blue 1\.png/);
    assert.equal(await shown.page.$('dialog'), null);
    await back();
    await shown.text('dialog h2', /blue\/blue 1\.png/);
    await shown.page.keyboard.press('Escape');
    await shown.page.waitForFunction(`document.querySelector('dialog') === null`);
  });

  it('offers a map where there is none yet, and does not call it a failure', async () => {
    const bare = path.join(folder, 'bare.index');
    using model = loadModel(run, { device: 'cpu' });
    await buildIndex(model, path.join(images, 'green'), { output: bare, numWorkers: 0 });
    await shown.show(`#/find?${new URLSearchParams({ index: bare }).toString()}`);
    await shown.text('.lay-out h2', /A map of 8 images/);
    assert.deepEqual(await shown.page.$$('.failure, [role=alert]'), []);
    await shown.check();
    await press('Lay out the map');
    await shown.page.waitForSelector('.find-map .canvas[aria-busy="false"] canvas', { timeout: 60_000 });
  });

  it('says what making an index left out', async () => {
    const mixed = path.join(folder, 'mixed');
    mkdirSync(mixed);
    for (const name of ['a.png', 'b.png'])
      linkSync(path.join(images, 'green', 'green 1.png'), path.join(mixed, name));
    writeFileSync(path.join(mixed, 'layers.psd'), 'not for an index');
    await shown.show(`#/find?new=1&images=${encodeURIComponent(mixed)}`);
    await press('Make the index');
    await shown.text('h1', /mixed\.index/, 60_000);
    await shown.text(
      '.index-head .made',
      /2 new, 0 changed, 0 removed[^]*1 other file was left out \(1 \.psd\)/,
    );
    await shown.check();
  });

  it('shows progress and Cancel after leaving and coming back', async () => {
    const many = path.join(folder, 'many');
    mkdirSync(many);
    for (let i = 0; i < 8000; i++)
      linkSync(path.join(images, 'green', 'green 1.png'), path.join(many, `${i}.png`));
    await shown.page.evaluate(
      `location.hash = ${JSON.stringify(`#/find?new=1&images=${encodeURIComponent(many)}`)}`,
    );
    await press('Make the index');
    await shown.text('.task label', /Indexing many/);
    await shown.show('#/runs');
    await shown.page.reload();
    await shown.show('#/find');
    await shown.text('.task label', /Indexing many/);
    await shown.check();
    await press('Cancel');
    await shown.text('.note', /Indexing many: cancelled/, 30_000);
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
        body: JSON.stringify(body),
      });
      return [response.status, await response.text()];
    };
    try {
      mkdirSync(path.join(folder, 'empty'), { recursive: true });
      const groups = [{ label: 'a', rows: [0] }];
      const generation = findGeneration(index);
      const asked = (at: string, question: object) =>
        post('/api/find/ask', { index: at, ask: { generation, ...question } });
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
      const search = { kind: 'search', plus: [], minus: [], top: 3, upload: 'forgotten' };
      assert.equal((await asked(index, search))[0], 404);
      const names = await asked(index, { kind: 'names' });
      assert.match(names[1], /"root":".*images","names":\["blue\/blue 0\.png",/);
      assert.deepEqual(readdirSync(outside), []);
    } finally {
      await studio.close();
    }
  });
});
