/** What the page of a running training says when its studio is frozen, ends, is killed, or is another one, in a real browser. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Page } from 'puppeteer-core';
import { pageProblems } from '../testing/accessibility.js';
import { launchBrowser, openPage } from '../testing/browser.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { textsOf } from '../testing/page.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { startStudio } from './index.js';

const childFile = (name: string): string => fileURLToPath(new URL(`../testing/${name}.js`, import.meta.url));

/** A studio in a process of its own. */
async function startChild(folder: string): Promise<{ child: ChildProcess; origin: string; token: string }> {
  const child = spawn(process.execPath, [childFile('studio-child'), folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return { child, ...(JSON.parse(line) as { origin: string; token: string }) };
}

const stopButtons = async (page: Page): Promise<string[]> =>
  (await textsOf(page, '.run-head .actions button')).filter((words) => /Stop/.test(words));

/** Opens the page of the only run, which trains. */
async function openTraining(page: Page, origin: string, token: string): Promise<void> {
  await page.goto(`${origin}/open?token=${token}`);
  await page.waitForSelector('.runs .state.running', { timeout: 60_000 });
  await page.click('.runs th a');
  await page.waitForSelector('.film .strips canvas', { timeout: 60_000 });
  assert.deepEqual(await stopButtons(page), ['Stop after this step']);
}

/** What a page still says of a training whose studio is gone. */
async function checkLastSeen(page: Page): Promise<void> {
  const [head] = await textsOf(page, '.run-head');
  assert.match(head!, /running\s+when last seen/);
  assert.deepEqual(await stopButtons(page), [], 'nothing can be stopped any more');
  assert.deepEqual(await pageProblems(page), []);
}

test(
  'a studio that is frozen, ends, is killed, or was started again is said to be so',
  { timeout: 240_000 },
  async (t) => {
    const browser = await launchBrowser();
    if (typeof browser === 'string') return t.skip(browser);
    const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-connection-'));
    const children: ChildProcess[] = [];
    t.after(async () => {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      await browser.close();
      rmSync(folder, { recursive: true });
    });
    const images = path.join(folder, 'images');
    await makeImageFolder(images, { classes: 1, perClass: 6 });
    // far longer than the test takes
    const settings = {
      ...{ ...TINY_SETTINGS, epochs: 100_000, saveckpFreq: 100, threads: 1 },
      watchImages: [path.join(images, 'class-0', 'image-0.png')],
    };
    const training = spawn(
      process.execPath,
      [childFile('train-child'), images, path.join(folder, 'live'), JSON.stringify(settings)],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    children.push(training);

    const { child, origin, token } = await startChild(folder);
    children.push(child);
    const { page, errors } = await openPage(browser, origin);
    await page.setViewport({ width: 1200, height: 800 });
    await openTraining(page, origin, token);

    child.kill('SIGSTOP');
    await page.waitForSelector('.lost.silent[role="alert"]', { timeout: 40_000 });
    assert.match((await textsOf(page, '.lost'))[0]!, /has not answered/);
    assert.deepEqual(await pageProblems(page), []);
    child.kill('SIGCONT');
    await page.waitForFunction(`document.querySelector('.lost') === null`, { timeout: 20_000 });

    child.stdin!.end();
    await page.waitForSelector('.lost.ended', { timeout: 20_000 });
    if (child.exitCode === null) await once(child, 'exit');
    assert.ok((await page.$('.lost.ended[role="status"]')) !== null, 'an end is not an alarm');
    await checkLastSeen(page);
    errors.length = 0; // of what was on its way
    await sleep(3000);
    assert.deepEqual(errors, [], 'it is not asked for again');

    // one that goes without a word
    const killed = await startChild(folder);
    children.push(killed.child);
    const { page: other } = await openPage(browser, killed.origin);
    await other.setViewport({ width: 1200, height: 800 });
    await openTraining(other, killed.origin, killed.token);
    killed.child.kill('SIGKILL');
    await other.waitForSelector('.lost[role="alert"]:not(.silent)', { timeout: 20_000 });
    assert.match((await textsOf(other, '.lost'))[0]!, /has stopped or can’t be reached/);
    await checkLastSeen(other);
    assert.equal(training.exitCode, null, 'the training goes on');

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
