/** The section Start, from a folder of images to a training that is stopped and resumed, in a real browser. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import { pageProblems } from '../testing/accessibility.js';
import { launchBrowser } from '../testing/browser.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { openFolder } from '../testing/page.js';
import { openStudio, type StudioPage } from '../testing/studio.js';
import { readLock } from '../files/folder-lock.js';

const top = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-start-'));
const folder = path.join(top, 'given');
const images = path.join(folder, 'photos "mine"');
const run = path.join(folder, 'runs', 'first');
let browser: Browser | string;
let studio: StudioPage;

before(async () => {
  await makeImageFolder(images, { classes: 2, perClass: 10, size: 48 });
  writeFileSync(path.join(images, 'class-1', 'broken.png'), 'no picture');
  await makeImageFolder(path.join(top, 'elsewhere'), { classes: 1, perClass: 1 });
  browser = await launchBrowser();
  if (typeof browser !== 'string') studio = await openStudio(browser, [folder]);
});
after(async () => {
  const lock = existsSync(run) ? readLock(run) : null;
  if (lock?.isAlive === true) process.kill(lock.pid, 'SIGKILL');
  if (typeof browser !== 'string') {
    await studio.close();
    await browser.close();
  }
  rmSync(top, { recursive: true });
});

const press = async (text: string): Promise<void> => {
  const wanted = `[...document.querySelectorAll('button')].find((one) => one.innerText.trim() === ${JSON.stringify(text)} && !one.disabled)`;
  await studio.page.waitForFunction(wanted);
  await studio.page.evaluate(`${wanted}.click()`);
};
const set = async (selector: string, value: string): Promise<void> => {
  await studio.page.evaluate(`{ const one = document.querySelector(${JSON.stringify(selector)});
    one.value = ${JSON.stringify(value)}; one.dispatchEvent(new Event('input', { bubbles: true })); }`);
};
/** Types values into the table of settings. */
const fill = async (values: Readonly<Record<string, string | number>>): Promise<void> => {
  await studio.page.evaluate(`for (const [name, value] of Object.entries(${JSON.stringify(values)})) {
    const one = document.querySelector('.planned [name="' + name + '"]');
    one.value = value;
    for (const type of ['input', 'change']) one.dispatchEvent(new Event(type, { bubbles: true }));
  }`);
};
const SMALL = {
  ...{ embedDim: 32, depth: 2, numHeads: 2, headHiddenDim: 32, outDim: 32, batchSize: 4, epochs: 400 },
  ...{ threads: 1, logEvery: 1 },
};
const valueOf = (name: string): Promise<unknown> =>
  studio.page.evaluate(`document.querySelector('.planned [name="${name}"]').value`);
/** The settings in the first table, in order. */
const rows = (): Promise<string[]> =>
  studio.page.evaluate(
    `[...document.querySelector('table.planned').querySelectorAll('th code')].map((one) => one.innerText)`,
  ) as Promise<string[]>;
const isStartDisabled = (): Promise<unknown> =>
  studio.page.evaluate(`document.querySelector('.begin button.main').disabled`);

describe('the section Start', () => {
  it('keeps changes that a reload, or another page, follows at once', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const { page } = studio;
    await studio.show(`#/start?${new URLSearchParams({ images }).toString()}`);
    const ways = {
      'a reload by the page': () => page.evaluate(`location.reload()`),
      // a browser that reloads while an address is being written can load the one before
      'a reload that comes before the address is known': async () => {
        await page.evaluate(`{ const before = location.href;
          window.written = new Promise((resolve) => {
            const look = () => location.hash.includes('logEvery%22%3A%226') ? resolve(before) : setTimeout(look, 20);
            look();
          }); }`);
        await page.evaluate(`window.written.then((before) => {
          history.replaceState(null, '', before);
          location.reload();
        })`);
      },
      'a reload by the browser': () => page.reload(),
      'another page and back': async () => {
        await page.evaluate(`location.href = 'about:blank'`);
        await page.waitForFunction(`location.href === 'about:blank'`);
        await page.goBack();
      },
    };
    for (const [i, [way, leave]] of Object.entries(ways).entries()) {
      await page.waitForSelector('table.planned [name="epochs"]', { timeout: 60_000 });
      await page.evaluate('window.isBefore = true');
      const wanted = { epochs: String(20 + i), batchSize: String(3 + i), logEvery: String(5 + i) };
      await fill(wanted); // three changes at once, of which browsers are not asked to write each
      await leave();
      await page.waitForFunction('window.isBefore === undefined', { polling: 50 });
      await page.waitForSelector('table.planned tr.own', { timeout: 60_000 });
      for (const [name, value] of Object.entries(wanted))
        assert.equal(await valueOf(name), value, `${name} after ${way}`);
    }
    await page.waitForFunction(`location.hash.includes('logEvery')`);
    await press('Reset 3 changes');
    await page.waitForFunction(`!location.hash.includes('set=')`);
    await studio.show('#/runs');
    assert.deepEqual(studio.errors, []);
  });

  it(
    'shows what is in a folder, what would be chosen and why, and the crops',
    { timeout: 240_000 },
    async (t) => {
      if (typeof browser === 'string') return t.skip(browser);
      await studio.show('#/start');
      await openFolder(studio.page, folder);
      await studio.text('.folder-list', /photos "mine"\s+21 images in 2 folders/);
      await openFolder(studio.page, 'photos "mine"');
      await studio.text('.pick-folder code', /photos "mine"$/);
      await studio.check();
      await press('Use this folder');
      const report = await studio.text('.report', /Images\s+21/, 20_000);
      assert.match(report, /median 48 × 48/);
      assert.match(report, /Broken\s+1/);
      assert.match(report, /Classes\s+2/);
      await studio.text(
        '.planned',
        /outDim\s+without prototypes the head's output is its bottleneck/,
        20_000,
      );
      assert.equal(await valueOf('outDim'), '128');
      const before = await rows();

      // a wrong value is said where it stands, and can be corrected there
      await fill({ epochs: 'many' });
      await studio.text('.failure', /epochs is "many"; expected a number/);
      await studio.text('.planned tr.own', /epochs\s+Reset\s+--epochs is "many"; expected a number/);
      assert.ok((await studio.page.$('[name="epochs"][aria-invalid="true"]')) !== null);
      assert.equal(await isStartDisabled(), true);
      assert.deepEqual(await pageProblems(studio.page), []);
      studio.errors.length = 0; // the refused request is logged by the browser, as it should
      await studio.page.focus('[name="epochs"]');
      await studio.page.keyboard.down('Control');
      await studio.page.keyboard.press('a');
      await studio.page.keyboard.up('Control');
      await studio.page.keyboard.type('500');
      await studio.page.keyboard.press('Enter');
      await studio.page.waitForFunction(`document.querySelector('.failure') === null`);
      await studio.text('.planned tr.own', /Your choice/);

      await fill(SMALL);
      await studio.text('.begin', /2,000 steps, 5 an epoch, on cpu/, 60_000);
      const after = (await rows()).filter((name) => before.includes(name));
      assert.deepEqual(after, before, 'rows stay where they are when they are edited');
      await studio.page.reload();
      await studio.text('.begin', /2,000 steps, 5 an epoch, on cpu/, 60_000);
      assert.equal(await valueOf('headHiddenDim'), '32', 'a reload brings back what was set');
      await press('Reset 9 changes');
      await studio.page.waitForFunction(`document.querySelector('.planned [name="outDim"]').value === '128'`);
      await studio.page.evaluate('history.back()');
      await studio.text('.pick-folder', /Use this folder/);
      await studio.page.evaluate('history.forward()');
      await studio.page.waitForSelector('table.planned');
      await fill(SMALL);
      await studio.text('.begin', /2,000 steps, 5 an epoch, on cpu/, 60_000);
      await studio.page.waitForFunction(
        `document.querySelectorAll('.crops .global').length >= 8 && [...document.querySelectorAll('.crops img')].every((one) => one.complete && one.naturalWidth > 0)`,
        { timeout: 20_000 },
      );
      await studio.check();
      await studio.picture('start');
    },
  );

  it(
    'measures time and memory by trial steps, and leaves nothing behind',
    { timeout: 240_000 },
    async (t) => {
      if (typeof browser === 'string') return t.skip(browser);
      await press('Measure time and memory');
      const result = await studio.text('.trial', /The whole training/, 90_000);
      assert.match(result, /about [\d.]+ (s|min|h)( \d+ \w+)? for 2,000 steps/);
      await studio.text('.begin', /About [\d]+ (s|min|h).*2,000 steps/);
      assert.match(result, /[\d.]+ images per second/);
      assert.match(result, /[\d,]+ MiB at most, on cpu in (fp32|bf16)/);
      await studio.check();
      assert.deepEqual([existsSync(run), existsSync(path.join(folder, 'runs'))], [false, false]);
    },
  );

  it('begins a training, stops it, and resumes it', { timeout: 240_000 }, async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const offered = await studio.page.evaluate(`document.querySelector('input.path').value`);
    assert.equal(offered, path.join(folder, 'runs', 'photos-mine'), 'a name that is free');
    await set('input.path', path.join(top, 'elsewhere', 'run'));
    await press('Start training');
    await studio.text('.failure', /is not under the folders that this studio was given/);
    assert.ok(!existsSync(path.join(top, 'elsewhere', 'run')));
    // a name that is taken is followed by a free one
    mkdirSync(path.join(folder, 'runs', 'photos-mine'), { recursive: true });
    writeFileSync(path.join(folder, 'runs', 'photos-mine', 'mine.txt'), 'mine');
    await set('input.path', path.join(folder, 'runs', 'photos-mine'));
    await press('Start training');
    await studio.text('.failure', /photos-mine is not empty: choose another name/);
    await studio.page.waitForFunction(`document.querySelector('input.path').value.endsWith('photos-mine-2')`);
    // Start and the estimate are in view wherever the page is
    const isInView = (): Promise<unknown> =>
      studio.page
        .evaluate(`{ const { top, bottom } = document.querySelector('.begin').getBoundingClientRect();
        top >= 0 && bottom <= innerHeight + 1; }`);
    for (const y of [0, 100_000]) {
      await studio.page.evaluate(`scrollTo(0, ${y})`);
      assert.equal(await isInView(), true);
    }
    studio.errors.length = 0;
    await set('input.path', run);
    await press('Start training');
    await studio.text('main h1', /runs\/first/, 30_000);
    await studio.text('.sentence', /Training: step \d+ of 2,000/, 30_000);
    // what the studio replies comes only once the page has answered by itself
    await studio.page.evaluate(`{ const real = window.fetch;
      window.fetch = async (address, init) => {
        const reply = await real(address, init);
        if (address.endsWith('/stop')) await new Promise((resolve) => (window.letGo = resolve));
        return reply;
      }; }`);
    await press('Stop after this step');
    await studio.text('.run-head', /Stopping…\s+It finishes the current step/);
    await studio.page.waitForFunction('window.letGo !== undefined');
    await studio.page.evaluate('window.letGo()');
    const stopped = await studio.text('.sentence', /Stopped at step \d+ of 2,000/, 20_000);
    await press('Resume');
    await studio.text('.sentence', /Training: step \d+ of 2,000/, 30_000);
    const before = Number(/step (\d+)/.exec(stopped)![1]);
    await studio.page.waitForFunction(
      `Number(/step (\\d+)/.exec(document.querySelector('.sentence').innerText)?.[1]) > ${before}`,
      { timeout: 20_000 },
    );
    await press('Stop after this step');
    await studio.text('.sentence', /Stopped at step/, 20_000);
    await studio.check();
  });

  it(
    'does not read images that links lead to outside, and counts files that are not images',
    { timeout: 40_000 },
    async (t) => {
      if (typeof browser === 'string') return t.skip(browser);
      symlinkSync(
        path.join(top, 'elsewhere', 'class-0', 'image-0.png'),
        path.join(images, 'class-0', 'zz.png'),
      );
      writeFileSync(path.join(images, 'class-0', 'photo.heic'), 'x');
      await studio.show('#/start');
      await studio.page.evaluate(
        `location.hash = '#/start?images=' + encodeURIComponent(${JSON.stringify(images)})`,
      );
      const report = await studio.text(
        '.report',
        /Images left out because they are links to outside the studio’s folders: 1\b/,
        20_000,
      );
      assert.match(report, /1 other file was left out \(1 \.heic\)/);
    },
  );
});
