/** The comparison of pictures: what counts as the same, and what does not. */
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import type { Browser, Page } from 'puppeteer-core';
import { launchBrowser } from './browser.js';
import { looksAs } from './screenshot.js';

let browser: Browser | string;
before(async () => {
  browser = await launchBrowser();
});
after(async () => {
  if (typeof browser !== 'string') await browser.close();
});

interface Drawing {
  /** Colour of the disc. */
  disc?: string;
  x?: number;
  words?: string;
  font?: string;
  /** Pixels. */
  height?: number;
}

async function draw(page: Page, drawing: Drawing): Promise<void> {
  const { disc = '#2a7', x = 40, words = 'row 2, column 3', font = 'sans-serif', height = 120 } = drawing;
  await page.setContent(
    `<body style="margin: 0"><div id="seen" style="width: 240px; height: ${height}px; background: #eef; position: relative">
      <div style="position: absolute; left: ${x}px; top: 20px; width: 60px; height: 60px; border-radius: 50%; background: ${disc}"></div>
      <p style="position: absolute; left: 10px; top: 90px; margin: 0; font: 13px ${font}; color: #555">${words}</p>
    </div></body>`,
  );
}

describe('looksAs', () => {
  it('accepts different fonts, smoothing and an extra line, but not a different colour, position or size', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const page = await browser.newPage();
    await page.setViewport({ width: 400, height: 300 });
    await draw(page, {});
    await looksAs(page, '#seen', 'comparison');
    if (process.env['DINO_WRITE_PICTURES'] === '1') return;
    for (const same of [{ font: 'serif' }, { font: 'monospace' }, { x: 40.4 }, { height: 123 }]) {
      await draw(page, same);
      await looksAs(page, '#seen', 'comparison');
    }
    for (const other of [{ disc: '#27a' }, { disc: '#eef' }, { x: 60 }, { height: 160 }]) {
      await draw(page, other);
      let message = '';
      await looksAs(page, '#seen', 'comparison').catch((error: Error) => (message = error.message));
      assert.match(
        message,
        /does not look like test\/fixtures\/studio\/comparison\.png/,
        JSON.stringify(other),
      );
      const folder = /difference\.png in (\S+);/.exec(message)![1]!;
      const files = readdirSync(folder).sort();
      rmSync(folder, { recursive: true });
      const isSized = other.height === undefined;
      assert.deepEqual(files, [...(isSized ? ['difference.png'] : []), 'expected.png', 'got.png']);
    }
    await assert.rejects(looksAs(page, '#missing', 'comparison'), /no #missing/);
    await assert.rejects(looksAs(page, '#seen', 'no-such-picture'), /DINO_WRITE_PICTURES=1 writes it/);
    await page.close();
  });
});
