/**
 * What a studio with an open page costs a training on the same machine:
 *
 *   node bench/studio-training.mjs [minutes, 25] [steps between two lines, 10] [page or reader]
 *
 * One training run on all cores throughout (ViT-Ti, 224 px, a step of less than a second), its studio (that of
 * `dino train --studio`), and a page of the run: `page` is a headless Chromium, which renders on the same cores; `reader` is a
 * client that receives what the page would receive and draws nothing. Studio and page are alternately paused (SIGSTOP) and
 * resumed for about ten seconds, so that other activity on the machine affects both alike. A ratio compares each turn with the
 * two bare turns around it; more than 1 is slower. If the machine's own speed varies by more than the effect, the scheduler's
 * numbers are better (Linux): the share of the time in which training's threads waited for a core.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { TrainingStudio } from '../dist/studio/training-studio.js';
import { launchBrowser } from '../dist/testing/browser.js';
import { makeImageFolder } from '../dist/testing/image-folder.js';

const minutes = Number(process.argv[2] ?? 25);
const logEvery = Number(process.argv[3] ?? 10);
const way = process.argv[4] ?? 'page';
if (!['page', 'reader'].includes(way)) throw new Error(`expected page or reader, got ${way}`);
const BATCH = 4;
/** Lines of a turn: twenty steps. */
const LINES = Math.ceil(20 / logEvery);

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-bench-studio-training-'));
const run = path.join(folder, 'run');
const metrics = path.join(run, 'metrics.jsonl');
const browser = await launchBrowser([]);
if (typeof browser === 'string') throw new Error(browser);
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const lines = () => (existsSync(metrics) ? readFileSync(metrics, 'utf8').trimEnd().split('\n') : []);

/** Milliseconds that a process's threads have waited for a core that others were using (Linux). */
function waitedOf(pid) {
  let waited = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      waited += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[1]) / 1e6;
    } catch {
      // the thread has just ended
    }
  }
  return waited;
}

/** Waits for a new line. @returns The number of lines. */
async function nextLine() {
  const before = lines().length;
  while (lines().length === before) await sleep(20);
  return lines().length;
}

/** Requests the curves once, like the page, and then reads what is sent. */
async function read(url) {
  const { origin, searchParams } = new URL(url);
  const headers = { authorization: `Bearer ${searchParams.get('token')}` };
  const ask = (address) => fetch(origin + address, { headers });
  const [{ id }] = await (await ask('/api/runs')).json();
  await (
    await ask(`/api/runs/${id}/series?axis=step&width=1000&columns=loss,teacherEntropy,kl`)
  ).arrayBuffer();
  for await (const bytes of (await ask('/api/events')).body) Buffer.from(bytes).toString();
}

let training;
let isOver = false;
try {
  await makeImageFolder(path.join(folder, 'images'), { classes: 4, perClass: 100, size: 256 });
  const bin = fileURLToPath(new URL('../bin/dino.js', import.meta.url));
  const sizes = ['--global-crops-size', '224', '--local-crops-size', '96', '--batch-size', String(BATCH)];
  const flags = [
    '--arch',
    'vit_tiny',
    '--epochs',
    '1000',
    '--log-every',
    String(logEvery),
    '--saveckp-freq',
    '1000',
  ];
  training = spawn(
    process.execPath,
    [bin, 'train', path.join(folder, 'images'), '--output', run, ...flags, ...sizes],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  let studio;
  const url = await new Promise((resolve, reject) => {
    studio = new TrainingStudio([folder], (message) =>
      'url' in message ? resolve(message.url) : reject(new Error(message.problem)),
    );
  });
  while (lines().length < Math.max(3, 30 / logEvery)) await sleep(500);

  const studioPid = execFileSync('pgrep', ['-P', String(process.pid), '-f', 'training-studio-process'])
    .toString()
    .trim();
  const held = [Number(studioPid)];
  if (way === 'page') {
    const page = await browser.newPage();
    await page.setViewport({ width: 1200, height: 800 });
    await page.goto(url);
    await page.waitForSelector('.runs th a');
    await page.evaluate(`document.querySelector('.runs th a').click()`);
    await page.waitForSelector('[data-column="loss"] canvas');
    held.push(-browser.process().pid); // its group: all of its processes
  } else {
    read(url).catch((error) => {
      if (!isOver) throw error;
    });
  }
  await nextLine();

  const turns = [];
  const end = Date.now() + minutes * 60_000;
  while (turns.length < 5 || turns.length % 2 === 0 || Date.now() < end) {
    for (const pid of held) process.kill(pid, turns.length % 2 === 0 ? 'SIGSTOP' : 'SIGCONT');
    const first = lines().length;
    const [start, before] = [performance.now(), waitedOf(training.pid)];
    for (let i = 0; i < LINES; i++) await nextLine();
    // a line covers the steps since the previous one
    const steps = lines()
      .slice(first)
      .map((line) => BATCH / JSON.parse(line).imagesPerSecond);
    const after = waitedOf(training.pid);
    turns.push({
      seconds: steps.reduce((sum, one) => sum + one, 0) / steps.length,
      waited: (100 * (after - before)) / (performance.now() - start),
    });
  }
  for (const pid of held) process.kill(pid, 'SIGCONT');
  isOver = true;
  studio.stop();
  const bare = turns.filter((_, i) => i % 2 === 0);
  const beside = turns.filter((_, i) => i % 2 === 1);
  const ratioOf = (one, before, after) => (2 * one.seconds) / (before.seconds + after.seconds);
  const ratios = beside.map((one, i) => ratioOf(one, bare[i], bare[i + 1]));
  // how much bare turns differ among themselves, measured in the same way
  const noise = bare.slice(1, -1).map((one, i) => ratioOf(one, bare[i], bare[i + 2]));
  const round = (value) => Number(value.toFixed(4));
  const secondsOf = (some) => round(median(some.map(({ seconds }) => seconds)));
  const meanWait = (some) => round(some.reduce((sum, { waited }) => sum + waited, 0) / some.length);
  console.log(
    JSON.stringify({
      beside: way,
      logEvery,
      secondsAStep: secondsOf(beside),
      bareSecondsAStep: secondsOf(bare),
      ratio: round(median(ratios)),
      ratios: ratios.map(round),
      bareAmongThemselves: noise.map(round),
      // in per cent of the time, over all its threads
      waitedForACore: meanWait(beside),
      bareWaitedForACore: meanWait(bare),
    }),
  );
} finally {
  training?.kill('SIGKILL');
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
