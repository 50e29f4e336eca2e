/** What was seen to go wrong in the section Start and on the pages of runs, walked in one browser. */
import assert from 'node:assert/strict';
import { cpSync, linkSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import { launchBrowser } from '../testing/browser.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { drawOnlyMaps, openFolder, pressRole, textsOf } from '../testing/page.js';
import { openStudio, type StudioPage } from '../testing/studio.js';
import { trainWatchedRun, watchedPaths } from '../testing/watched-run.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-faults-'));
const { run } = watchedPaths(folder);
/** More images than a listing has; one of the ten folders has more than that by itself. */
const MANY = 10_000;
const FURTHER = 5;
const LONG = `a-run-${'whose-name-goes-on-and-on-'.repeat(8)}without-a-space`;
const browser: Browser | string = await launchBrowser();

describe('the studio', { skip: typeof browser === 'string' ? browser : false }, () => {
  let studio: StudioPage;
  before(async () => {
    await trainWatchedRun(folder);
    cpSync(run, path.join(folder, 'runs', LONG), { recursive: true });
    await makeImageFolder(path.join(folder, 'photos'), { classes: 1, perClass: 1 });
    const one = path.join(folder, 'photos', 'class-0', 'image-0.png');
    for (let i = 1; i < MANY + FURTHER; i++) {
      const place = path.join(folder, 'photos', `class-${i < MANY ? i % 10 : 3}`);
      if (i < 10) mkdirSync(place);
      linkSync(one, path.join(place, `image-${i}.png`));
    }
    studio = await openStudio(browser as Browser, [folder]);
  });
  after(async () => {
    await studio.close();
    await (browser as Browser).close();
    rmSync(folder, { recursive: true });
  });

  const overflow = (): Promise<unknown> =>
    studio.page.evaluate('document.documentElement.scrollWidth - innerWidth');
  /** Every field looks like one of the studio's, whatever its type. */
  const checkFields = async (): Promise<void> => {
    const bare = await studio.page.evaluate(`[...document.querySelectorAll('input, select, textarea')]
      .filter((one) => !['checkbox', 'radio', 'range', 'file'].includes(one.type))
      .filter((one) => getComputedStyle(one).borderRadius !== '6px').map((one) => one.outerHTML)`);
    assert.deepEqual(bare, []);
  };

  it('counts ten thousand images in ten folders, and shows folders by a sign that needs no font', async () => {
    await studio.show('#/start');
    await openFolder(studio.page, folder);
    await studio.text('.folder-list', /photos\s+10,005 images in 10 folders/);
    assert.equal(
      await studio.page.evaluate(
        `[...document.querySelectorAll('.folder-list button')].every((one) => one.querySelector('svg.icon path') !== null)`,
      ),
      true,
    );
    await studio.check();
    await openFolder(studio.page, 'photos');
    await studio.text('.folder-list', /class-3\s+1,005 images/);
    await openFolder(studio.page, 'class-3');
    await studio.text('.pick-folder', /1,005 images here, the first 24 of them/);
    await studio.page.evaluate('history.back()');
    await studio.text('.pick-folder code', /photos$/);
    await studio.check();
  });

  it('holds a long name of a run on a phone, in lists and on its page', async () => {
    await studio.page.setViewport({ width: 390, height: 844 });
    await studio.show('#/runs');
    await studio.text('.runs th a', /whose-name-goes-on/, 90_000);
    assert.equal(await overflow(), 0);
    const ids = (await studio.page.evaluate(
      `[...document.querySelectorAll('.runs th a')].map((one) => one.hash.slice('#/runs/'.length))`,
    )) as string[];
    const [long, first] = await Promise.all(
      [/whose-name/, /first$/].map(async (name) => {
        const at = (await studio.page.evaluate(
          `[...document.querySelectorAll('.runs th a')].findIndex((one) => ${String(name)}.test(one.innerText))`,
        )) as number;
        return ids[at]!;
      }),
    );
    for (const address of [`#/runs/${long}`, `#/runs/${first}?with=${long}`]) {
      await studio.show(address);
      await studio.page.waitForSelector('.film .strips canvas', { timeout: 30_000 });
      await studio.page.waitForSelector('[data-column="loss"]');
      assert.equal(await overflow(), 0, address);
      await checkFields();
      await studio.check();
    }
    await studio.page.setViewport({ width: 1200, height: 800 });
  });

  it('gives every field its style, with and without a type', async () => {
    await studio.show(`#/start?${new URLSearchParams({ images: watchedPaths(folder).images }).toString()}`);
    await studio.page.waitForSelector('table.planned');
    await studio.text('.report', /Images\s+13/, 30_000);
    await checkFields();
    await studio.check();
    await studio.page.evaluate(`document.querySelector('main').append(document.createElement('input'))`);
    await checkFields();
    await studio.page.evaluate(`document.querySelector('main > input').remove()`);
  });

  it('brings back what was seen of a run: the image, its head, the step, how it plays, and the part of the curves', async () => {
    await studio.show('#/runs');
    await studio.page.evaluate(
      `[...document.querySelectorAll('.runs th a')].find((one) => one.innerText === 'runs/first').click()`,
    );
    await studio.page.waitForSelector('.film .strips canvas', { timeout: 30_000 });
    await studio.page.click('.strips li:nth-child(2) .strip-image');
    await studio.page.focus('.film .scrubber input');
    await studio.page.keyboard.press('End'); // the film may be at its beginning, where Home changes nothing
    await studio.page.keyboard.press('Home');
    await studio.page.waitForSelector('.film[data-step="0"]');
    await studio.page
      .evaluate(`{ const label = [...document.querySelectorAll('.film label')].find((one) => one.innerText === 'Head');
      const input = document.getElementById(label.htmlFor);
      input.value = 2; input.dispatchEvent(new Event('input', { bubbles: true })); }`);
    await drawOnlyMaps(studio.page, '.film');
    await studio.page.click('.toolbar input[type=checkbox]');
    await studio.page.select('.film-controls select', 'fast');
    await studio.page.click('.film-controls input[type=checkbox]'); // no loop
    const whole = await studio.text('.range', /^0 to [1-9]/);
    await studio.page.click('button[aria-label="Zoom in"]');
    await studio.page.waitForFunction(
      `document.querySelector('.range').innerText !== ${JSON.stringify(whole)}`,
    );
    const [part] = await textsOf(studio.page, '.range');
    await studio.page.waitForFunction(
      `['image=', 'step=0', 'head=2', 'drawn=map', 'log=1', 'speed=fast', 'loop=0', 'from=', 'to='].every((one) => location.hash.includes(one))`,
    );
    for (const way of ['reload', 'back']) {
      if (way === 'reload') await studio.page.reload();
      else {
        await studio.show('#/look');
        await studio.page.waitForSelector('.image-choices');
        await studio.page.evaluate('history.back()');
      }
      await studio.page.waitForSelector('.film .map-view canvas', { timeout: 30_000 });
      const label = String(
        await studio.page.evaluate(
          `document.querySelector('.film .map-view canvas').getAttribute('aria-label')`,
        ),
      );
      assert.match(label, /^Attention, head 2, for .*: Before training$/, way);
      assert.equal(
        await studio.page.evaluate(`[...document.querySelectorAll('.film .map-side select')].at(-1).value`),
        'map',
        way,
      );
      assert.equal(
        await studio.page.evaluate(`document.querySelector('.toolbar input[type=checkbox]').checked`),
        true,
      );
      assert.deepEqual(
        await studio.page.evaluate(
          `[document.querySelector('.film-controls select').value, document.querySelector('.film-controls input[type=checkbox]').checked]`,
        ),
        ['fast', false],
        way,
      );
      await studio.page.waitForFunction(
        `document.querySelector('.range').innerText === ${JSON.stringify(part)}`,
      );
    }
    // a part that is not there is not an empty page
    await studio.page.evaluate(
      `location.hash = location.hash.replace(/from=[^&]*/, 'from=1000').replace(/to=[^&]*/, 'to=2000')`,
    );
    await studio.page.reload();
    await studio.page.waitForFunction(
      `document.querySelector('.range')?.innerText === ${JSON.stringify(whole)}`,
      { timeout: 30_000 },
    );
    await studio.page.waitForFunction(`!location.hash.includes('from=')`);
  });

  it('brings back the ticks of the list, also by “All runs”, and the folder that an image is picked from', async () => {
    await studio.show('#/runs');
    for (const name of ['first', LONG])
      await (await studio.page.waitForSelector(`[aria-label="Compare runs/${name}"]`))!.click();
    await studio.text('main a', /^Compare 2 runs$/);
    await studio.page.waitForFunction(`location.hash.includes('ticked=')`);
    await studio.page.reload();
    await studio.text('main a', /^Compare 2 runs$/, 30_000);
    await studio.page.evaluate(
      `[...document.querySelectorAll('main a')].find((one) => /^Compare/.test(one.innerText)).click()`,
    );
    await studio.text('main h1', /^2 runs compared$/);
    await pressRole(studio.page, 'link', 'All runs');
    await studio.text('main a', /^Compare 2 runs$/);
    assert.equal(
      await studio.page.evaluate(`document.querySelectorAll('.runs input[type=checkbox]:checked').length`),
      2,
    );

    await studio.show('#/look');
    await studio.page.waitForSelector('.image-choices details summary');
    // by the keys: samples that come move what a pointer would click
    await studio.page.focus('.image-choices details summary');
    await studio.page.keyboard.press('Enter');
    for (const name of [folder, 'photos', 'class-3']) await openFolder(studio.page, name);
    const isThere = async (): Promise<void> => {
      await studio.page.waitForSelector('.folder-images .heads img', { timeout: 30_000 });
      await studio.text('.image-choices details[open] .folder-images code', /class-3$/);
    };
    await isThere();
    await studio.page.reload();
    await isThere();
    await studio.page.click('.folder-images .heads button');
    await studio.page.waitForFunction(`location.hash.includes('image=')`);
    await isThere();
  });
});
