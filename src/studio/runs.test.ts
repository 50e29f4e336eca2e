/** The section Runs, in a real browser, on real runs. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import { launchBrowser } from '../testing/browser.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { openStudio } from '../testing/studio.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { train } from '../train/train.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-runs-'));
let browser: Browser | string;
before(async () => {
  browser = await launchBrowser();
  await makeImageFolder(path.join(folder, 'images'), { classes: 2, perClass: 6 });
  mkdirSync(path.join(folder, 'runs'));
});
after(async () => {
  if (typeof browser !== 'string') await browser.close();
  rmSync(folder, { recursive: true });
});

describe('the section Runs', () => {
  it('shows a run as soon as its folder is there, and says that it has finished', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const studio = await openStudio(browser, [folder]);
    try {
      await studio.text('main', /There is no run/);
      await studio.check();
      await train({
        images: path.join(folder, 'images'),
        output: path.join(folder, 'runs', 'first'),
        settings: TINY_SETTINGS,
      });
      await studio.text('main', /finished.*runs\/first.*all 6 steps are done/s);
      await studio.check();
      assert.equal(await studio.page.title(), 'Runs – dino studio');
    } finally {
      await studio.close();
    }
  });
});
