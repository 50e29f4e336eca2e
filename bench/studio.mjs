/**
 * The studio's page on a run with many lines, in a headless Chromium with software rendering:
 *
 *   node bench/studio.mjs [lines, 1,000,000]
 *
 * first page: from following the link to the list of runs. open: from choosing the run until every line is in its curves.
 * pan: frames per second while the view of the whole run's second tenth is dragged for three seconds. line: from appending a
 * line to its value on the screen, the slowest of ten.
 */
import {
  appendFileSync,
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { launchBrowser } from '../dist/testing/browser.js';
import { makeImageFolder } from '../dist/testing/image-folder.js';
import { openStudio } from '../dist/testing/studio.js';
import { TINY_SETTINGS } from '../dist/testing/tiny-run.js';
import { train } from '../dist/train/train.js';
import { framesWhile } from './frames.mjs';

const lines = Number(process.argv[2] ?? 1_000_000);
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-bench-studio-'));
const browser = await launchBrowser([]);
if (typeof browser === 'string') throw new Error(browser);

const line = (step, loss) =>
  `${JSON.stringify({
    step,
    epoch: Math.floor(step / 1000),
    loss,
    lr: 0.0005 * Math.cos(step / lines),
    wd: 0.04 + step / lines / 3,
    momentum: 0.996 + (0.004 * step) / lines,
    teacherTemp: 0.04,
    teacherEntropy: 3 + Math.sin(step / 7000),
    kl: 1 + Math.random(),
    centerNorm: Math.random(),
    imagesPerSecond: 200 + Math.random(),
    dataWaitPercent: Math.random(),
    memoryMiB: 1200 + Math.random(),
  })}\n`;

try {
  await makeImageFolder(path.join(folder, 'images'), { classes: 1, perClass: 10 });
  const run = path.join(folder, 'run');
  await train({ images: path.join(folder, 'images'), output: run, settings: TINY_SETTINGS });
  mkdirSync(path.join(folder, 'long'));
  cpSync(path.join(run, 'config.json'), path.join(folder, 'long', 'config.json'));
  const file = path.join(folder, 'long', 'metrics.jsonl');
  const handle = openSync(file, 'w');
  for (let step = 1; step <= lines;) {
    let text = '';
    for (const end = Math.min(lines, step + 9999); step <= end; step++) text += line(step, 4 + Math.random());
    writeSync(handle, text);
  }
  closeSync(handle);

  const { page, studio, text, close } = await openStudio(browser, [folder]);
  let start = performance.now();
  await page.goto(studio.url);
  await text('.runs th a', /^long$/);
  const firstPage = performance.now() - start;

  start = performance.now();
  await page.evaluate(
    `[...document.querySelectorAll('.runs th a')].find((one) => one.innerText === 'long').click()`,
  );
  await page.waitForSelector('[data-column="loss"] canvas');
  const seen = performance.now() - start;
  const all = lines.toLocaleString('en-US').replaceAll(',', ',');
  await text('.range', new RegExp(`^0 to ${all}$`), 120_000);
  const open = performance.now() - start;

  await page.focus('.charts');
  for (let i = 0; i < 6; i++) await page.keyboard.press('+');
  await sleep(1500);
  await page.evaluate(`document.querySelector('[data-column="loss"]').scrollIntoView()`);
  const box = await (await page.$('[data-column="loss"] .u-over')).boundingBox();
  const y = box.y + box.height / 2;
  await page.keyboard.down('Shift');
  await page.mouse.move(box.x + box.width * 0.9, y);
  await page.mouse.down();
  const frames = await framesWhile(page, (i) =>
    page.mouse.move(box.x + box.width * (0.9 - 0.8 * Math.abs(((i / 120) % 2) - 1)), y),
  );
  await page.mouse.up();
  await page.keyboard.up('Shift');

  await page.keyboard.press('0');
  const waits = [];
  for (let i = 1; i <= 10; i++) {
    const loss = 5 + i / 8;
    await sleep(700);
    start = performance.now();
    appendFileSync(file, line(lines + i, loss));
    await text('[data-column="loss"] .newest', new RegExp(`(^|\\s)${String(loss).replace('.', '\\.')}$`));
    waits.push(performance.now() - start);
  }
  const round = (value) => Math.round(value);
  console.log(
    JSON.stringify({
      lines,
      megabytes: round(statSync(file).size / 1e6),
      firstPageMs: round(firstPage),
      firstCurveMs: round(seen),
      openMs: round(open),
      ...frames,
      newLineMs: round(Math.max(...waits)),
    }),
  );
  await close();
} finally {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
