/** What the page says when its studio is frozen, ends, or is another one, in a real browser. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pageProblems } from '../testing/accessibility.js';
import { launchBrowser, openPage } from '../testing/browser.js';
import { startStudio } from './index.js';

const studioChild = fileURLToPath(new URL('../testing/studio-child.js', import.meta.url));

test(
  'a studio that is frozen, ends, or was started again is said to be so',
  { timeout: 90_000 },
  async (t) => {
    const browser = await launchBrowser();
    if (typeof browser === 'string') return t.skip(browser);
    const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-connection-'));
    const child = spawn(process.execPath, [studioChild, folder], { stdio: ['pipe', 'pipe', 'inherit'] });
    const ended = once(child, 'exit');
    t.after(async () => {
      child.kill('SIGKILL');
      await browser.close();
      rmSync(folder, { recursive: true });
    });
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    const { origin, token } = JSON.parse(line) as { origin: string; token: string };
    const { page, errors } = await openPage(browser, origin);
    await page.goto(`${origin}/open?token=${token}`);
    await page.waitForSelector('main h1');

    child.kill('SIGSTOP');
    await page.waitForSelector('.lost.silent', { timeout: 40_000 });
    assert.match(
      String(await page.evaluate(`document.querySelector('.lost').innerText`)),
      /has not answered/,
    );
    child.kill('SIGCONT');
    await page.waitForFunction(`document.querySelector('.lost') === null`, { timeout: 20_000 });

    child.stdin.end();
    await page.waitForSelector('.lost.ended', { timeout: 20_000 });
    await ended;
    assert.deepEqual(errors, [], 'it is not asked for again');
    assert.ok((await page.$('.lost.ended[role="status"]')) !== null, 'an end is not an alarm');

    // on the same port, with another token
    const again = await startStudio({ folders: [folder], port: Number(new URL(origin).port) });
    t.after(() => again.close());
    await page.goto(origin);
    const text = String(await page.evaluate('document.body.innerText'));
    assert.match(text, /Open the studio with the link that the terminal shows[\s\S]*has a new link/);
    assert.equal(await page.evaluate('getComputedStyle(document.body).display'), 'grid', 'it has a style');
    assert.deepEqual(await pageProblems(page), []);
  },
);
