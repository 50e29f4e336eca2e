/** The section Start, from a folder of images to a training that is stopped and resumed, in a real browser. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import { launchBrowser } from '../testing/browser.js';
import { makeImageFolder } from '../testing/image-folder.js';
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
const SMALL =
  'embed-dim 32\ndepth 2\nnumHeads=2\n--head-hidden-dim 32\nout_dim: 32\nbatch-size 4\nepochs 400\nthreads 1\nlog-every 1';

describe('the section Start', () => {
  it(
    'shows what is in a folder, what would be chosen and why, and the crops',
    { timeout: 60_000 },
    async (t) => {
      if (typeof browser === 'string') return t.skip(browser);
      await studio.show('#/start');
      await press(folder);
      await studio.text('.folders', /photos "mine" 21 images in 2 folders/);
      await press('photos "mine"');
      await studio.check();
      await press('Use this folder');
      const report = await studio.text('.report', /Images\s+21/, 20_000);
      assert.match(report, /median 48 × 48/);
      assert.match(report, /Broken\s+1/);
      assert.match(report, /Classes\s+2/);
      await studio.text(
        '.planned',
        /outDim\s+128\s+without prototypes the head's output is its bottleneck/,
        20_000,
      );

      await set('textarea', 'epochs many\nlerning-rate 3');
      await press('Apply');
      await studio.text('.failure', /epochs is "many"; expected a number[\s\S]*unknown flag --lerning-rate/);
      await studio.page.waitForFunction(`document.querySelector('.planned') === null`);
      studio.errors.length = 0; // the refused request is logged by the browser, as it should
      await set('textarea', SMALL);
      await press('Apply');
      await studio.text('section', /2,000 steps, 5 an epoch, on cpu/, 20_000);
      assert.doesNotMatch(await studio.text('.planned', /lr/), /outDim/);
      await studio.page.waitForFunction(
        `document.querySelectorAll('.crops .global').length >= 8 && [...document.querySelectorAll('.crops img')].every((one) => one.complete && one.naturalWidth > 0)`,
        { timeout: 20_000 },
      );
      await studio.check();
      await studio.picture('start');
    },
  );

  it('measures time and memory by trial steps, and leaves nothing behind', { timeout: 60_000 }, async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    await press('Measure with a few trial steps');
    const result = await studio.text('.trial', /The whole training/, 40_000);
    assert.match(result, /about [\d.]+ (s|min|h)( \d+ \w+)? for 2,000 steps/);
    assert.match(result, /[\d.]+ images a second/);
    assert.match(result, /[\d,]+ MiB at most, on cpu in (fp32|bf16)/);
    assert.deepEqual([existsSync(run), existsSync(path.join(folder, 'runs'))], [false, false]);
  });

  it('begins a training, stops it, and resumes it', { timeout: 90_000 }, async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const offered = await studio.page.evaluate(`document.querySelector('input.path').value`);
    assert.equal(offered, path.join(folder, 'runs', 'photos-mine'), 'a name that is free');
    await set('input.path', path.join(top, 'elsewhere', 'run'));
    await press('Start training');
    await studio.text('.failure', /is not under the folders that this studio was given/);
    assert.ok(!existsSync(path.join(top, 'elsewhere', 'run')));
    studio.errors.length = 0;
    await set('input.path', run);
    await press('Start training');
    await studio.text('main h1', /runs\/first/, 30_000);
    await studio.text('.sentence', /Training: step \d+ of 2,000/, 30_000);
    await studio.page.evaluate(`{ window.told = [];
      new MutationObserver(() => window.told.push(document.querySelector('.run-head')?.innerText ?? ''))
        .observe(document.body, { subtree: true, childList: true, characterData: true }); }`);
    await press('Stop after this step');
    const stopped = await studio.text('.sentence', /Stopped at step \d+ of 2,000/, 20_000);
    const told = (await studio.page.evaluate('window.told')) as string[];
    assert.ok(
      told.some((text) => /Stopping…\s+It finishes the step/.test(text)),
      'Stop is answered at once',
    );
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
      const report = await studio.text('.report', /links to outside the studio’s folders: 1\b/, 20_000);
      assert.match(report, /1 other file was left out \(1 \.heic\)/);
    },
  );
});
