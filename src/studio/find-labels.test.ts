/** Labels of an index, through the page: given, proposed, filtered by, written into tables and folders, and kept. */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
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
import { ImageIndex } from '../explore/image-index.js';
import { labelImages, labelsPath } from '../explore/labels.js';
import { loadModel } from '../model.js';
import type { FindAnswer } from '../plain/studio-api/index.js';
import { launchBrowser } from '../testing/browser.js';
import { pressButton, pressRole, typeInto, valueOf } from '../testing/page.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { openStudio, type StudioPage } from '../testing/studio.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-find-labels-'));
const images = path.join(folder, 'images');
const run = path.join(folder, 'run');
const index = path.join(folder, 'photos.index');
const browser: Browser | string = await launchBrowser();

describe('labels in Find', { skip: typeof browser === 'string' ? browser : false }, () => {
  let shown: StudioPage;
  before(async () => {
    writeTinyRun(run);
    await writeColourFolders(images, 8);
    copyFileSync(path.join(images, 'red', 'red 2.png'), path.join(images, 'red', 'copy.png'));
    using model = loadModel(run, { device: 'cpu' });
    await buildIndex(model, images, { output: index, numWorkers: 0 });
    using opened = ImageIndex.open(index);
    const blue = (number: number): number =>
      opened.images.findIndex((one) => one.path === `blue/blue ${number}.png`);
    labelImages(opened, [blue(0), blue(1)], 'sky');
    shown = await openStudio(browser as Browser, [folder]);
    await shown.page.setViewport({ width: 1440, height: 900 });
    await shown.show(`#/find?${new URLSearchParams({ index, map: 'off' }).toString()}`);
    await shown.text('.grid-head [role=status]', /^25 images$/, 30_000);
  });
  after(async () => {
    await shown.close();
    await (browser as Browser).close();
    rmSync(folder, { recursive: true });
  });
  const press = (words: string): Promise<void> => pressButton(shown.page, words);
  const view = (words: string): Promise<void> => pressRole(shown.page, 'tab', words);
  const tray = (pattern: RegExp): Promise<string> => shown.text('.tray [role=status]', pattern);

  it('labels the selection, filters by label, and writes labels into a table', async () => {
    await typeInto(shown.page, '.grid-head input[type=search]', 'red/');
    await shown.text('.grid-head [role=status]', /^9 images$/);
    await press('Select these');
    await tray(/^9 selected/);
    await press('Label');
    await typeInto(shown.page, 'dialog input[name=label]', 'red, "all"');
    await press('Give this label');
    await shown.page.waitForFunction(`document.querySelector('dialog') === null`);
    await typeInto(shown.page, '.grid-head input[type=search]', ' ');
    await shown.page.keyboard.press('Backspace');
    await view('Labels');
    await shown.text('.labels button', /red, "all" 9/);
    await shown.text('.labels button', /sky 2/);
    await shown.text('.grid-head [role=status]', /^11 images$/);
    await press('sky 2');
    await shown.text('.grid-head [role=status]', /^2 images$/);
    await press('Without a label 14');
    await shown.text('.grid-head [role=status]', /^14 images$/);
    await shown.check();
    await press('Export');
    const table = path.join(folder, 'list.csv');
    await shown.page.select('dialog select', 'labelled');
    await typeInto(shown.page, 'dialog input[name=target]', table);
    await shown.check();
    await press('Write it');
    await shown.text('dialog [role=status]', /^11 images in/, 30_000);
    const lines = readFileSync(table, 'utf8').trim().split('\n');
    assert.equal(lines[0], 'image,label');
    assert.equal(lines.filter((line) => line.endsWith(',"red, ""all"""')).length, 9);
    assert.ok(lines.includes(`${path.join(images, 'blue', 'blue 0.png')},sky`));
    // a name that is taken: nothing is replaced, another is offered
    await press('Write it');
    await shown.text('dialog [role=alert]', /list\.csv already exists, and nothing is replaced/);
    assert.equal(await valueOf(shown.page, 'dialog input[name=target]'), path.join(folder, 'list-2.csv'));
    // the browser itself logs failed replies
    assert.match(shown.errors.splice(0).join('\n'), /^.* 409 \(Conflict\) \S+\/api\/find\/ask$/);
    await press('Write it');
    await shown.text('dialog [role=status]', /^11 images in .*list-2\.csv/, 30_000);
    assert.equal(readFileSync(path.join(folder, 'list-2.csv'), 'utf8'), readFileSync(table, 'utf8'));
    // as text, without labels: it says so
    await shown.page.select('dialog label:nth-of-type(2) select', 'list');
    await shown.text('dialog .note', /only the paths, without labels: a table has both/);
    await typeInto(shown.page, 'dialog input[name=target]', path.join(folder, 'paths.txt'));
    await press('Write it');
    await shown.text('dialog [role=status]', /^11 images in .*paths\.txt/, 30_000);
    const paths = readFileSync(path.join(folder, 'paths.txt'), 'utf8').trim().split('\n');
    assert.deepEqual(
      paths.sort(),
      lines
        .slice(1)
        .map((line) => line.slice(0, line.indexOf('.png') + 4))
        .sort(),
    );
    // a folder for each label
    await shown.page.select('dialog label:nth-of-type(2) select', 'copy');
    await typeInto(shown.page, 'dialog input[name=target]', path.join(folder, 'sorted'));
    await press('Write it');
    await shown.text('dialog [role=status]', /^11 images in .*sorted/, 30_000);
    assert.deepEqual(readdirSync(path.join(folder, 'sorted')).sort(), ['red, "all"', 'sky']);
    await shown.page.keyboard.press('Escape');
  });

  it('proposes labels for images like those that have one: accepted together, but for those that are not meant', async () => {
    const labelled = (words: RegExp): Promise<string> => shown.text('.labels button', words);
    const [copy, third] = ['red/copy.png', 'red/red 3.png'];
    await shown.page.evaluate(
      `[...document.querySelectorAll('.labels button')].find((one) => one.innerText.startsWith('red')).click()`,
    );
    await shown.text('.grid-head [role=status]', /^9 images$/);
    for (const name of [copy, third]) {
      await press(`Open ${name}`);
      await shown.text('dialog h3', /Label: red/);
      await shown.page.keyboard.press('0');
      await shown.text('dialog h3', /^Label$/);
      await shown.page.keyboard.press('Escape');
      await shown.page.waitForFunction(`document.querySelector('dialog') === null`);
    }
    await labelled(/red, "all" 7$/);
    await press('Propose labels for images like these');
    await shown.text('.proposals', /^\d+ proposals, the surest first/);
    const proposed = async (): Promise<[name: string, words: string][]> =>
      (await shown.page.evaluate(
        `[...document.querySelectorAll('.proposals li')].map((one) => [one.querySelector('img').alt, one.querySelector('.caption').innerText])`,
      )) as [string, string][];
    const all = await proposed();
    for (const name of [copy, third])
      assert.match(all.find(([one]) => one === name)?.[1] ?? `none for ${name}`, /^red, "all"\? \d+ %$/);
    await shown.check();
    await shown.page.evaluate(
      `[...document.querySelectorAll('.proposals li')].find((one) => one.querySelector('img').alt === '${third}').querySelector('button').click()`,
    );
    const rest = all.length - 1;
    await shown.text('.proposals', new RegExp(`^${rest} proposals?, the surest first`));
    const reds = (await proposed()).filter(([, words]) => words.startsWith('red')).length;
    await shown.page.click('.proposals button.main');
    await shown.page.waitForFunction(`document.querySelector('.proposals') === null`);
    await labelled(new RegExp(`red, "all" ${7 + reds}$`));
    await labelled(new RegExp(`Without a label ${16 - rest}$`));
    // all of it is taken back, step by step
    for (const left of [16, 15, 14]) {
      await press('Undo');
      await labelled(new RegExp(`Without a label ${left}$`));
    }
    await labelled(/red, "all" 9$/);
  });

  it('keeps the labels in the index: they survive a reload, and what is damaged is reported', async () => {
    appendFileSync(labelsPath(index), 'not a line\n');
    await shown.page.reload();
    await shown.text('[role=alert]', /Left out 1 unreadable line of labels\.jsonl/);
    await shown.text('.labels button', /sky 2/);
    await tray(/^9 selected/);
    await press('Label');
    await press('Remove their labels');
    await shown.page.waitForFunction(
      `![...document.querySelectorAll('.labels button')].some((one) => one.innerText.startsWith('red'))`,
    );
    await press('Undo');
    await shown.text('.labels button', /red, "all" 9/);
    await shown.check();
  });

  /** Takes away images, and brings the index up to date as a terminal would: all rows after theirs are other images then. */
  const without = async (...names: string[]): Promise<void> => {
    for (const name of names) rmSync(path.join(images, name));
    using model = loadModel(run, { device: 'cpu' });
    await buildIndex(model, images, { output: index, numWorkers: 0 });
  };
  const ask = async (question: object): Promise<[status: number, text: string]> => {
    const { origin, token } = shown.studio;
    const reply = await fetch(`${origin}/api/find/ask`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ index, ask: question }),
    });
    return [reply.status, await reply.text()];
  };
  const generationNow = async (): Promise<number> => {
    const answer = JSON.parse((await ask({ kind: 'about' }))[1]) as Extract<FindAnswer, { kind: 'about' }>;
    return answer.about.generation;
  };

  it('asks nothing of rows, and changes nothing by them, once the index was brought up to date', async () => {
    const generation = await generationNow();
    const target = path.join(folder, 'outdated.txt');
    const search = { kind: 'search', plus: [2], minus: [], top: 3 };
    const questions = [
      { kind: 'label', rows: [2], label: 'wrong' },
      { kind: 'export', how: 'list', target, groups: [{ label: '', rows: [2] }] },
      { kind: 'export', how: 'list', target },
      { kind: 'images', rows: [2] },
      search,
      { ...search, region: [0, 0, 0.5, 0.5] },
      // their answers have rows
      { kind: 'names' },
      { kind: 'labels' },
      { kind: 'propose' },
      { kind: 'select', size: 2, by: 'both' },
    ];
    for (const { kind, ...question } of questions) {
      const [status, text] = await ask({ kind, ...question });
      assert.equal(status, 400, `${kind}: ${text}`);
      assert.match(text, /ask\.generation/, kind);
    }
    await without('blue/blue 7.png');
    const labels = readFileSync(labelsPath(index), 'utf8');
    for (const question of questions) {
      const [status, text] = await ask({ ...question, generation });
      assert.equal(status, 409, `${question.kind}: ${text}`);
      assert.match(
        text,
        /"CHANGED".*brought up to date since this page read it.*open it again/,
        question.kind,
      );
    }
    const { origin, token } = shown.studio;
    const map = (of: number): Promise<Response> =>
      fetch(`${origin}/api/find/map?${new URLSearchParams({ index, generation: String(of) }).toString()}`, {
        headers: { authorization: `Bearer ${token}` },
      });
    assert.equal((await map(generation)).status, 409);
    const now = await generationNow();
    assert.notEqual(now, generation);
    assert.equal((await map(now)).status, 404);
    assert.equal(readFileSync(labelsPath(index), 'utf8'), labels);
    assert.ok(!existsSync(target));
    const [status, text] = await ask({ ...search, generation: now });
    assert.equal(status, 200, text);
  });

  it('tells an index that was deleted and made anew from the one before', async () => {
    const kept = readFileSync(labelsPath(index), 'utf8');
    const make = async (): Promise<number> => {
      rmSync(index, { recursive: true });
      await without();
      return generationNow();
    };
    const [first, second] = [await make(), await make()]; // both were written once
    assert.notEqual(first, second);
    const [status, text] = await ask({ kind: 'images', rows: [2], generation: first });
    assert.equal(status, 409, text);
    writeFileSync(labelsPath(index), kept);
  });

  it('says so in a page that was open meanwhile, and opens the index again', async () => {
    const label = async (): Promise<void> => {
      await typeInto(shown.page, 'dialog input[name=label]', 'seen');
      await press('Label it');
    };
    const refused = async (): Promise<void> => {
      await shown.text('main [role=alert]', /The index was brought up to date since this page read it/);
      await shown.page.waitForFunction(`document.querySelector('dialog') === null`);
      // the browser itself logs failed replies
      for (const error of shown.errors.splice(0))
        assert.match(error, /409 \(Conflict\) \S+\/api\/find\/ask$/);
    };
    const reopened = async (count: number): Promise<void> => {
      await press('Open it again');
      await shown.text('.index-head summary', new RegExp(`^${count} images`), 30_000);
      // the address names rows too
      await shown.page.waitForFunction(`!/[?&](image|like)=/.test(location.hash)`);
    };
    const labelled = async (): Promise<string[]> => {
      const generation = await generationNow();
      const { groups } = JSON.parse((await ask({ kind: 'labels', generation }))[1]) as {
        groups: { label: string; rows: number[] }[];
      };
      const { names } = JSON.parse((await ask({ kind: 'names', generation }))[1]) as { names: string[] };
      return groups
        .filter((one) => one.label === 'seen')
        .flatMap(({ rows }) => rows.map((row) => names[row]!));
    };
    // the page still shows the index as it was before the last test; an image that is opened asks for its neighbours
    await view('All images');
    await press('Open green/green 3.png');
    await refused();
    await shown.check();
    await reopened(24);
    await tray(/^0 selected/);
    // one that is already open, with its neighbours
    await press('Open green/green 3.png');
    await shown.page.waitForSelector('dialog .neighbours img');
    await without('blue/blue 4.png');
    await label();
    await refused();
    assert.deepEqual(await labelled(), []);
    await reopened(23);
    await press('Open green/green 3.png');
    await label();
    await shown.text('dialog h3', /^Label: seen$/);
    assert.deepEqual(await labelled(), ['green/green 3.png']);
    await shown.page.keyboard.press('Escape');
    await shown.page.waitForFunction(`document.querySelector('dialog') === null`);
    // also by a link or a reload
    await press('Open green/green 3.png');
    await shown.page.waitForSelector('dialog .neighbours img');
    await without('blue/blue 3.png');
    await shown.page.reload();
    await shown.text('.index-head summary', /^22 images/, 30_000);
    await shown.page.waitForFunction(
      `document.querySelector('dialog') === null && !location.hash.includes('image=')`,
    );
    await press('Open green/green 3.png');
    await shown.text('dialog h3', /^Label: seen$/);
    await shown.page.keyboard.press('0');
    await shown.text('dialog h3', /^Label$/);
    await shown.page.keyboard.press('Escape');
    await shown.page.waitForFunction(`document.querySelector('dialog') === null`);
    assert.deepEqual(await labelled(), []);
    // also the step back, and what is only read
    await without('blue/blue 6.png');
    await press('Undo');
    await refused();
    assert.deepEqual(await labelled(), []);
    await reopened(21);
    await view('Labels');
    await shown.text('.labels button', /^red, "all" 9$/);
    await without('blue/blue 5.png');
    await view('Clusters');
    await refused();
    await reopened(20);
    await shown.text('.group h2', /^Cluster 1: /, 30_000);
    await shown.check();
  });
});
