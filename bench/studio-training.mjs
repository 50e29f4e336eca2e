/**
 * What a studio that is looked at costs the training beside it:
 *
 *   node bench/studio-training.mjs [minutes, 6] [step, small or large]
 *
 * One training on all cores, all the while. A page shows its run for twenty seconds, or nothing does, by turns: `page` is a
 * headless Chromium, which draws on the same cores; `reader` is a client that asks for what the page asks for and draws nothing.
 * A ratio compares each turn with the two bare ones around it; more than 1 is slower. The studio is the one of
 * `dino train --studio`.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { StudioBeside } from '../dist/studio/beside.js';
import { launchBrowser } from '../dist/testing/browser.js';
import { makeImageFolder } from '../dist/testing/image-folder.js';

const TURN_MS = 20_000;
const minutes = Number(process.argv[2] ?? 6);
const kind = process.argv[3] ?? 'small';
const SIZES = {
  // about five lines a second, and about one in a second and a half
  small: [
    '--global-crops-size',
    '64',
    '--local-crops-size',
    '32',
    '--local-crops-number',
    '4',
    '--batch-size',
    '4',
  ],
  large: [
    '--global-crops-size',
    '224',
    '--local-crops-size',
    '96',
    '--local-crops-number',
    '8',
    '--batch-size',
    '4',
  ],
};
if (!(kind in SIZES)) throw new Error(`expected ${Object.keys(SIZES).join(' or ')}, got ${kind}`);

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-bench-studio-training-'));
const run = path.join(folder, 'run');
const metrics = path.join(run, 'metrics.jsonl');
const browser = await launchBrowser();
if (typeof browser === 'string') throw new Error(browser);
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const lines = () => (existsSync(metrics) ? readFileSync(metrics, 'utf8').trimEnd().split('\n') : []);

/** Asks as the page does: the run's events, and with each its details and the curves at a screen's width. */
async function read(url, signal) {
  const { origin, searchParams } = new URL(url);
  const token = searchParams.get('token');
  const headers = { authorization: `Bearer ${token}` };
  const ask = (address) => fetch(origin + address, { headers, signal }).then((reply) => reply.arrayBuffer());
  const [{ id }] = JSON.parse(Buffer.from(await ask('/api/runs')));
  const events = await fetch(`${origin}/api/events`, { headers, signal });
  let seen = 0;
  for await (const bytes of events.body) {
    if (!Buffer.from(bytes).includes('"metrics"') && seen > 0) continue;
    seen++;
    await ask(`/api/runs/${id}`);
    await ask(`/api/runs/${id}/series?axis=step&width=1000&columns=loss,teacherEntropy,kl,lr,wd,momentum`);
  }
}

let training;
try {
  await makeImageFolder(path.join(folder, 'images'), { classes: 4, perClass: 100, size: 256 });
  const bin = fileURLToPath(new URL('../bin/dino.js', import.meta.url));
  const flags = ['--arch', 'vit_tiny', '--epochs', '1000', '--log-every', '1', '--saveckp-freq', '1000'];
  training = spawn(
    process.execPath,
    [bin, 'train', path.join(folder, 'images'), '--output', run, ...flags, ...SIZES[kind]],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  let studio;
  const url = await new Promise((resolve, reject) => {
    studio = new StudioBeside([folder], (told) =>
      'url' in told ? resolve(told.url) : reject(new Error(told.problem)),
    );
  });
  while (lines().length < 20) await sleep(500);

  const ways = ['bare', 'reader', 'bare', 'page'];
  const turns = [];
  const end = Date.now() + minutes * 60_000;
  for (let i = 0; Date.now() < end || i % 2 === 0; i++) {
    const way = ways[i % ways.length];
    let page;
    const controller = new AbortController();
    let reading;
    if (way === 'page') {
      page = await browser.newPage();
      await page.setViewport({ width: 1200, height: 800 });
      await page.goto(url);
      await page.waitForSelector('.runs th a');
      await page.evaluate(`document.querySelector('.runs th a').click()`);
      await page.waitForSelector('[data-column="loss"] canvas');
    } else if (way === 'reader') {
      reading = read(url, controller.signal).catch((error) => {
        if (!controller.signal.aborted) throw error;
      });
    }
    await sleep(2000);
    const first = lines().length;
    await sleep(TURN_MS);
    const steps = lines()
      .slice(first + 1)
      .map((line) => 1 / JSON.parse(line).imagesPerSecond);
    controller.abort();
    await reading;
    await page?.close();
    turns.push({ way, steps: steps.length, seconds: 4 * median(steps) });
  }
  studio.stop();
  for (const way of ['reader', 'page']) {
    const ratios = turns.flatMap(({ way: one, seconds }, i) =>
      one === way && turns[i + 1] !== undefined
        ? [(2 * seconds) / (turns[i - 1].seconds + turns[i + 1].seconds)]
        : [],
    );
    const seconds = turns.filter((turn) => turn.way === way).map((turn) => turn.seconds);
    console.log(
      JSON.stringify({
        beside: way,
        step: kind,
        secondsAStep: Number(median(seconds).toFixed(4)),
        bareSecondsAStep: Number(
          median(turns.filter((turn) => turn.way === 'bare').map((turn) => turn.seconds)).toFixed(4),
        ),
        ratio: Number(median(ratios).toFixed(4)),
        ratios: ratios.map((ratio) => Number(ratio.toFixed(3))),
      }),
    );
  }
} finally {
  training?.kill('SIGKILL');
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
