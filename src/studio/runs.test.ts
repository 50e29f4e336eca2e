/** The section Runs, in a real browser, on real runs. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Browser, HTTPRequest, HTTPResponse } from 'puppeteer-core';
import { launchBrowser } from '../testing/browser.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { pressButton, textsOf } from '../testing/page.js';
import { openStudio, type StudioPage } from '../testing/studio.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { readLines } from '../files/json-lines.js';
import { metricsPath } from '../run/run-folder.js';
import { changeRunNote, readRunNote } from '../run/run-note.js';
import { train } from '../train/train.js';
import type { SeriesHeader, Task } from '../plain/studio-api/index.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-runs-'));
const images = path.join(folder, 'images');
const first = path.join(folder, 'runs', 'first');
const trainChild = fileURLToPath(new URL('../testing/train-child.js', import.meta.url));
let browser: Browser | string;
let studio: StudioPage;

before(async () => {
  await makeImageFolder(images, { classes: 2, perClass: 6 });
  mkdirSync(path.join(folder, 'runs'));
  writeFileSync(path.join(images, 'class-0', 'broken.png'), 'no picture');
  browser = await launchBrowser();
  if (typeof browser !== 'string') studio = await openStudio(browser, [folder]);
});
after(async () => {
  if (typeof browser !== 'string') {
    await studio.close();
    await browser.close();
  }
  rmSync(folder, { recursive: true });
});

const lastLine = (run: string) => readLines(metricsPath(run)).at(-1) as { step: number; loss: number };
/** Makes lines like a run's last one, of another step and loss. */
const linesLike = (run: string) => {
  const values = lastLine(run);
  return (step: number, loss: number): string => `${JSON.stringify({ ...values, step, loss })}\n`;
};
/** Counts how often the page asks for curves, up to `end()`. */
const countSeriesRequests = () => {
  const note = (request: HTTPRequest): void =>
    void (requests.count += Number(request.url().includes('/series')));
  const requests = {
    count: 0,
    end: (): number => {
      studio.page.off('request', note);
      return requests.count;
    },
  };
  studio.page.on('request', note);
  return requests;
};
/** The lines that a run has by the header of a part of its curves. */
const linesOfSeries = (bytes: Uint8Array): number => {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return (JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length))) as SeriesHeader).lines;
};
/** Deletes runs. What the page still asks of them can't be had, which the browser logs: not to be blamed on the test that follows. */
const remove = async (...names: string[]): Promise<void> => {
  await studio.show('#/runs');
  for (const name of names) rmSync(path.join(folder, 'runs', name), { recursive: true });
  await studio.page.waitForFunction(
    `![...document.querySelectorAll('.runs th a')].some((one) => ${JSON.stringify(names)}.includes(one.innerText.replace('runs/', '')))`,
    { timeout: 30_000, polling: 50 },
  );
  studio.errors.length = 0;
};
/** As the page writes numbers of this size. */
const short = (value: number): string => String(Number(value.toPrecision(4)));
const newest = (column: string): string => `[data-column="${column}"] .newest`;
/** What a chart says it shows. */
const inWords = async (column: string): Promise<string> =>
  String(
    await studio.page.evaluate(
      `document.querySelector('[data-column="${column}"] .plot').getAttribute('aria-label')`,
    ),
  );
const exactly = (text: string): RegExp => new RegExp(`(^|\\s)${text.replace('.', '\\.')}$`);
/** Opens what is folded away. */
const unfold = async (): Promise<void> => {
  await studio.page.waitForSelector('.fold', { timeout: 30_000 });
  await studio.page.evaluate(
    `document.querySelectorAll('.fold, .run-head details').forEach((one) => (one.open = true))`,
  );
};
const openRun = (name: string): Promise<void> => studio.openRun(name, 90_000);

describe('the section Runs', () => {
  it('shows a run as soon as its folder is there, and says that it has finished', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    await studio.text('main', /There are no runs/);
    const cards = await studio.text('.cards', /Run the demo/);
    assert.match(cards, /dino demo --output [\s\S]*Train on a folder[\s\S]*Open a model/);
    await studio.check();
    await train({ images, output: first, settings: { ...TINY_SETTINGS, maxBadShare: 0.5 } });
    await studio.text('.runs tr', /runs\/first.*finished.*6 of 6.*vit.*all 6 steps are done/s);
    await studio.check();
    assert.equal(await studio.page.title(), 'Runs – dino studio');
  });

  it('draws columns whose names every object has, of a run that somebody else made', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const run = path.join(folder, 'runs', 'named');
    cpSync(first, run, { recursive: true });
    const names = ['__proto__', 'constructor', 'toString'];
    const line = (step: number, more: string): string =>
      `${JSON.stringify({ ...lastLine(first), step, loss: 2 }).slice(0, -1)}${more}}\n`;
    const named = names.map((name) => `,"${name}":3.25`).join('');
    writeFileSync(metricsPath(run), line(1, named) + line(2, named));
    await openRun('runs/named');
    await unfold();
    for (const name of names) await studio.text(newest(name), /(^|\s)3\.25$/);
    // the newest line has none of them, and comes while the page is open
    appendFileSync(metricsPath(run), line(3, ''));
    await studio.text(newest('loss'), /(^|\s)2$/);
    await studio.page.waitForFunction(
      `document.querySelector('[data-column="constructor"] .newest').innerText.trim() === ''`,
      { timeout: 30_000, polling: 50 },
    );
    await studio.page.reload();
    await studio.text('main h1', /^runs\/named$/);
    await unfold();
    await studio.page.waitForSelector('[data-column="__proto__"]', { timeout: 30_000 });
    await studio.text('[data-column="loss"] .newest', /(^|\s)2$/);
    await studio.check();
    await remove(path.basename(run));
  });

  it('draws its curves with the values of its file, and tells what is in its folder', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    await openRun('runs/first');
    const last = lastLine(first);
    await studio.text(newest('loss'), exactly(short(last.loss)));
    for (const column of ['lr', 'wd', 'teacherTemp', 'memoryMiB'])
      assert.equal(await studio.page.$(`[data-column="${column}"]`), null, `${column} is folded away`);
    await unfold();
    await studio.page.waitForSelector('[data-column="lr"]');
    const heights = (await studio.page.evaluate(
      `['loss', 'kl', 'lr'].map((column) => document.querySelector('[data-column="' + column + '"] .plot').getBoundingClientRect().height)`,
    )) as number[];
    assert.ok(
      Math.min(heights[0]!, heights[1]!) > 1.2 * heights[2]!,
      `loss and health are large: ${heights.join()}`,
    );
    const tiles = await studio.text('.tiles', /Finished in \d+ s[\s\S]*6 of 6 steps/);
    assert.match(tiles, /Health\s+Healthy\s+Different images get different answers\./);
    assert.match(tiles, /Speed\s+[\d,]+ images\/s/);
    await studio.text('.verdict', /Healthy: the teacher's answer depends on the image .* ln K = 4\.16/);
    // what is off the screen is drawn when it comes there
    for (const column of ['loss', 'kl', 'memoryMiB']) {
      await studio.page.evaluate(`document.querySelector('[data-column="${column}"]').scrollIntoView()`);
      await studio.page.waitForSelector(`[data-column="${column}"] canvas`);
    }
    assert.match(await inWords('loss'), new RegExp(`${short(last.loss)} at 6, lowest`));

    await studio.page.click('[data-column="loss"] details:last-of-type summary');
    const table = await studio.text('[data-column="loss"] table', /step/);
    for (const { step, loss } of readLines(metricsPath(first)) as { step: number; loss: number }[])
      assert.match(table, new RegExp(`${step}\\s+${short(loss).replace('.', '\\.')}`));

    await studio.page.evaluate(
      `document.querySelectorAll('.details details').forEach((one) => (one.open = true))`,
    );
    const text = await studio.text('.details', /Settings/);
    assert.match(text, /teacherTemp\s+0\.04/);
    assert.match(text, /Data: 13 images/);
    assert.match(text, /Fingerprint\s+[0-9a-f]{64}/);
    assert.match(text, /Checkpoints: 3[\s\S]*6 \(newest\)/);
    assert.match(text, /Evaluations: 0/);
    assert.match(text, /Skipped images: 1[\s\S]*broken\.png/);
    await studio.check();
  });

  it('draws what the judge of a training saw, beside the untrained network and pixels, and where the best weights are', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const run = path.join(folder, 'runs', 'judged');
    cpSync(first, run, { recursive: true });
    const checkpoints = path.join(run, 'checkpoints');
    cpSync(path.join(checkpoints, 'step-00000004'), path.join(checkpoints, 'best-00000004'), {
      recursive: true,
    });
    const judged = (step: number, score: number): string => {
      const judge = {
        measure: 'neighbours',
        score,
        untrained: 0.25,
        pixels: 0.36,
        isBest: true,
        bestStep: step,
      };
      return `${JSON.stringify({ step, epoch: 0, judge })}\n`;
    };
    const knn = (step: number, score: number): string => {
      const top1 = { 10: score - 1, 20: score };
      return `${JSON.stringify({ step, epoch: 1, top1, top5: {}, center: null, pca: null, classes: 20 })}\n`;
    };
    writeFileSync(
      metricsPath(run),
      judged(0, 0.25) + readFileSync(metricsPath(run), 'utf8') + judged(4, 0.416) + knn(2, 61) + knn(4, 60.5),
    );
    await openRun('runs/judged');
    await studio.page.waitForSelector('[data-column="judge"]', { timeout: 30_000 });
    await studio.page.evaluate(`document.querySelector('[data-column="judge"]').scrollIntoView()`);
    await studio.text(newest('judge'), /41\.6%/);
    await studio.text(newest('knn'), /k = 10\s+59\.5 %\s+k = 20\s+60\.5 %/);
    const quality = await studio.text('[data-tile="quality"]', /k-NN accuracy\s+60\.5 %/);
    assert.match(quality, /chance 5\.0 %, best 61\.0 % after step 2/);
    await unfold();
    assert.ok((await studio.page.$('[data-column="memoryMiB"]')) !== null);
    for (const column of ['top1', 'classes'])
      assert.equal(await studio.page.$(`[data-column="${column}"]`), null, 'a chart without a line');
    const said = await inWords('judge');
    assert.match(said, /runs\/judged: 25\.0% at step 0, 41\.6% at 4, lowest 25\.0%, highest 41\.6%/);
    assert.match(said, /untrained network: 25\.0% .*raw pixels: 36\.0%/);
    await studio.page.evaluate(
      `document.querySelectorAll('.details details').forEach((one) => (one.open = true))`,
    );
    await studio.text('.details', /Checkpoints: 4[\s\S]*4 \(best weights\)[\s\S]*Evaluations: 4/);
    await studio.check();
    await remove(path.basename(run));
  });

  it('shows an evaluation that comes while the page of a finished run is open', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const run = path.join(folder, 'runs', 'evaluated');
    cpSync(first, run, { recursive: true });
    await openRun('runs/evaluated');
    await studio.text('.details', /Evaluations: 0/);
    await studio.page.evaluate(
      `document.querySelectorAll('.details details').forEach((one) => (one.open = true))`,
    );
    const requests = countSeriesRequests();
    mkdirSync(path.join(run, 'evaluations'));
    for (const [i, name] of ['knn', 'linear'].entries()) {
      writeFileSync(path.join(run, 'evaluations', `${name}.json`), JSON.stringify({ best: 61.5 }));
      await studio.text('.details', new RegExp(`Evaluations: ${i + 1}[\\s\\S]*${name}`));
    }
    assert.equal(requests.end(), 0, 'the curves are the same');
    await studio.check();
    await remove(path.basename(run));
  });

  it('follows a training while it runs, and says that it was killed', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const run = path.join(folder, 'runs', 'live');
    const settings = { ...TINY_SETTINGS, epochs: 2000, warmupEpochs: 10, threads: 1, maxBadShare: 0.5 };
    const child: ChildProcess = spawn(process.execPath, [trainChild, images, run, JSON.stringify(settings)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    try {
      await openRun('runs/live');
      await studio.text('.sentence', /Training: step \d+ of 4,000, by process \d+/);
      const seen = new Set<string>();
      for (const limit = Date.now() + 15_000; seen.size < 4 && Date.now() < limit;)
        seen.add(await studio.text(newest('loss'), /\d/));
      assert.ok(seen.size >= 4, 'the newest value changes while one looks');
      assert.match(await studio.page.title(), /^\d+ % – runs\/live – Runs – dino studio$/);
      await studio.text('[data-tile="progress"]', /\d+ %\s+[\d,]+ of 4,000 steps, about .* left/);
    } finally {
      child.kill('SIGKILL');
    }
    await ended;
    await studio.text('.sentence', /exited without releasing the run's lock, at step \d+ of 4,000.*--resume/);
    await studio.text(newest('loss'), exactly(short(lastLine(run).loss)));
  });

  it('has a new line on the screen unasked, through damaged lines and a cut', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const run = path.join(folder, 'runs', 'copy');
    cpSync(first, run, { recursive: true });
    const file = metricsPath(run);
    const lines = readFileSync(file, 'utf8');
    await openRun('runs/copy');
    await studio.text(newest('loss'), exactly(short(lastLine(first).loss)));

    const line = linesLike(first);
    const requests = countSeriesRequests();
    appendFileSync(file, line(7, 3.875));
    await studio.text(newest('loss'), exactly('3.875'));

    // half a line is none until it is whole
    const half = line(8, 3.75);
    appendFileSync(file, half.slice(0, 40));
    appendFileSync(file, '');
    await new Promise((resolve) => setTimeout(resolve, 600));
    await studio.text(newest('loss'), exactly('3.875'));
    appendFileSync(file, half.slice(40));
    await studio.text(newest('loss'), exactly('3.75'));

    appendFileSync(file, '{"step":9,"loss":\0\0\0\n[]\n' + line(10, 3.5));
    await studio.text('.failure', /2 lines of metrics\.jsonl can't be read, the first is line 9/);
    await studio.text(newest('loss'), exactly('3.5'));
    assert.equal(requests.end(), 0, 'new lines come by themselves');
    await studio.check();
    const drawn = `[...document.querySelectorAll('.plot')].map((one) => one.getAttribute('aria-label'))`;
    const grown = await studio.page.evaluate(drawn);
    await studio.page.reload();
    await studio.text(newest('loss'), exactly('3.5'));
    assert.deepEqual(
      await studio.page.evaluate(drawn),
      grown,
      'as if they had been there from the beginning',
    );

    // as a resumed run does it: written beside, and renamed
    writeFileSync(`${file}.new`, lines.split('\n').slice(0, 2).join('\n') + '\n');
    rmSync(file);
    cpSync(`${file}.new`, file);
    const second = JSON.parse(lines.split('\n')[1]!) as { loss: number };
    await studio.text(newest('loss'), exactly(short(second.loss)));
    await studio.page.waitForFunction(`document.querySelector('.failure') === null`); // the damaged lines are gone too
  });

  it('tells each new line of a long run, and fetches its curves anew when half a pixel has changed', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const run = path.join(folder, 'runs', 'long');
    cpSync(first, run, { recursive: true });
    const like = linesLike(first);
    const line = (step: number): string => like(step, step / 1000);
    writeFileSync(metricsPath(run), Array.from({ length: 5000 }, (_, i) => line(i + 1)).join(''));
    // a slow server answers before all is read, and says so; a whole answer is asked for once
    const answers: Promise<number>[] = [];
    const note = (response: HTTPResponse): void => {
      if (response.url().includes('/series')) answers.push(response.buffer().then(linesOfSeries));
    };
    studio.page.on('response', note);
    await openRun('runs/long');
    await studio.text('.range', /^0 to 5,000$/);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    studio.page.off('response', note);
    assert.equal((await Promise.all(answers)).filter((lines) => lines === 5000).length, 1);

    const requests = countSeriesRequests();
    appendFileSync(metricsPath(run), line(5001));
    await studio.text(newest('loss'), exactly(short(5.001)));
    assert.equal(requests.count, 0);
    appendFileSync(metricsPath(run), line(5002) + line(5003) + line(5004));
    await studio.text('.range', /^0 to 5,004$/);
    assert.equal(requests.end(), 1);
    await studio.text(newest('loss'), exactly(short(5.004)));
  });

  it('puts new lines into a part of the curves that reaches their end', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const run = path.join(folder, 'runs', 'part');
    cpSync(first, run, { recursive: true });
    const line = linesLike(first);
    writeFileSync(metricsPath(run), Array.from({ length: 4000 }, (_, i) => line(i + 1, 3)).join(''));
    await openRun('runs/part');
    await studio.text('.range', /^0 to 4,000$/);
    for (const button of Array(3).fill(['Zoom in', 'Move right', 'Move right']).flat())
      await studio.page.click(`button[aria-label="${button}"]`);
    await studio.text('.range', /^3,500 to 4,000$/);
    await new Promise((resolve) => setTimeout(resolve, 1500)); // what the new view needs has come
    const requests = countSeriesRequests();
    appendFileSync(metricsPath(run), line(4001, 3.125));
    await studio.text(newest('loss'), exactly('3.125'));
    appendFileSync(metricsPath(run), line(4002, 3.25));
    await studio.text(newest('loss'), exactly('3.25'));
    assert.equal(requests.end(), 0);
    assert.match(await inWords('loss'), /3\.25 at 4,002, lowest 3, highest 3\.25/);
  });

  it('catches up on what was written while the page was hidden, also when another page has heard of it', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const run = path.join(folder, 'runs', 'hidden');
    cpSync(first, run, { recursive: true });
    await openRun('runs/hidden');
    await studio.text(newest('loss'), exactly(short(lastLine(first).loss)));
    const { origin, token } = studio.studio;
    const ending = new AbortController();
    const events = await fetch(`${origin}/api/events`, {
      headers: { authorization: `Bearer ${token}` },
      signal: ending.signal,
    });
    const see = (state: string): Promise<unknown> =>
      studio.page
        .evaluate(`Object.defineProperty(document, 'visibilityState', { value: '${state}', configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));`);
    await see('hidden');
    appendFileSync(metricsPath(run), linesLike(first)(7, 2.625));
    const words = new TextDecoder();
    for await (const bytes of events.body!) if (words.decode(bytes as Uint8Array).includes('2.625')) break;
    ending.abort();
    await see('visible');
    await studio.text(newest('loss'), exactly('2.625'));
    await studio.page.evaluate('delete document.visibilityState');
  });

  it('shows a page that is opened later what was computed before', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const { origin, token } = studio.studio;
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const ask = async (address: string, body?: object): Promise<unknown> => {
      const post = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
      return (await fetch(origin + address, { headers, ...post })).json();
    };
    const { id } = (await ask('/api/start/inspect', { images })) as Task;
    const isDone = async (): Promise<boolean> =>
      ((await ask('/api/tasks')) as Task[]).some((task) => task.id === id && task.state === 'done');
    while (!(await isDone())) await new Promise((resolve) => setTimeout(resolve, 50));
    const ending = AbortSignal.timeout(5000);
    const events = await fetch(`${origin}/api/events`, { headers, signal: ending });
    let told = '';
    for await (const bytes of events.body!) {
      told += new TextDecoder().decode(bytes as Uint8Array);
      if (told.includes(id)) break;
    }
    assert.match(told, new RegExp(`"id":"${id}".*"state":"done".*"result":`));
  });

  it('draws several runs over one another and lists where they differ', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const other = path.join(folder, 'runs', 'other');
    await train({
      images,
      output: other,
      settings: { ...TINY_SETTINGS, lr: 0.005, seed: 4, maxBadShare: 0.5 },
    });
    await studio.show('#/runs');
    await studio.text('.runs th a', /^runs\/other$/);
    for (const name of ['runs/first', 'runs/other'])
      await studio.page.click(`[aria-label="Compare ${name}"]`);
    await studio.text('main a', /^Compare 2 runs$/);
    await studio.page.evaluate(
      `[...document.querySelectorAll('main a')].find((one) => /^Compare/.test(one.innerText)).click()`,
    );
    const table = await studio.text('.differences', /lr\s+0\.02\s+0\.005/);
    assert.match(table, /seed\s+0\s+4/);
    assert.doesNotMatch(table, /teacherTemp/);
    // curves first, then what they attend to, then what differs
    const order = await studio.page.evaluate(
      `[...document.querySelectorAll('main section h2')].map((one) => one.id).filter((id) => id !== '')`,
    );
    assert.deepEqual(order, ['curves', 'film', 'differences']);
    await studio.text('main h1', /^2 runs compared$/);
    const [one, two] = [lastLine(first).loss, lastLine(other).loss].map(short);
    await studio.text(newest('loss'), new RegExp(`${one}[\\s\\S]*${two}`));
    await studio.check();
    // each keeps its colour when another is not drawn, and alone on its own page
    const colour = (): Promise<unknown> =>
      studio.page.evaluate(`document.querySelector('[data-column="loss"] .newest .key').className`);
    const colours = (await studio.page.evaluate(
      `[...document.querySelectorAll('[data-column="loss"] .newest .key')].map((one) => one.className)`,
    )) as string[];
    assert.equal(new Set(colours).size, 2);
    await studio.page.click('[aria-label="Draw runs/first"]');
    await studio.text(newest('loss'), exactly(two!));
    assert.equal(await colour(), colours[1]);
    await studio.page.reload();
    await studio.text(newest('loss'), exactly(two!));
    await studio.page.click('[aria-label="Draw runs/first"]');
    await studio.text(newest('loss'), new RegExp(`${one}[\\s\\S]*${two}`));
    await studio.page.click('[aria-label="Remove runs/first"]');
    await studio.text('main h1', /^runs\/other$/);
    await studio.text(newest('loss'), exactly(two!));
    assert.equal(await colour(), colours[1]);
  });

  it('hides, shows, finds and sorts runs, and keeps notes on them beside them', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const listed = (): Promise<string[]> => textsOf(studio.page, '.runs th a');
    const until = (names: readonly string[]): Promise<unknown> =>
      studio.page.waitForFunction(
        `JSON.stringify([...document.querySelectorAll('.runs th a')].map((one) => one.innerText)) === ${JSON.stringify(JSON.stringify(names))}`,
      );
    for (const name of ['night-1', 'night-2', 'night-10'])
      cpSync(first, path.join(folder, 'runs', name), { recursive: true });
    await studio.show('#/runs');
    await studio.page.waitForSelector('[aria-label="Hide runs/night-10"]');
    await studio.page.type('input[type="search"]', 'NIGHT');
    await studio.page.select('main select', 'name');
    await until(['runs/night-1', 'runs/night-2', 'runs/night-10']);
    await studio.page.click('[aria-label="Hide runs/night-2"]');
    await until(['runs/night-1', 'runs/night-10']);
    await studio.page.reload();
    await until(['runs/night-1', 'runs/night-10']);
    await studio.text('main label', /Show hidden runs \(1\)/);

    await studio.page.evaluate(
      `[...document.querySelectorAll('.runs th a')].find((one) => one.innerText === 'runs/night-10').click()`,
    );
    await pressButton(studio.page, 'Add a note');
    const note = 'too cold: <b>0.04</b>\nsee “night-1”';
    await studio.page.type('.note-form textarea', note);
    await studio.check();
    await pressButton(studio.page, 'Save note');
    await studio.text('.noted', /^too cold: <b>0\.04<\/b>\nsee “night-1”$/);
    const run = path.join(folder, 'runs', 'night-10');
    assert.deepEqual(readRunNote(run), { text: note, isHidden: false });

    // somebody else writes while it is edited: nothing is lost, and who saves again knows what they replace
    await pressButton(studio.page, 'Edit the note');
    changeRunNote(run, { text: 'from elsewhere' });
    await studio.page.type('.note-form textarea', '!');
    await pressButton(studio.page, 'Save note');
    await studio.text('.failure', /changed elsewhere in the meantime, to “from elsewhere”\. Save again/);
    assert.equal(readRunNote(run).text, 'from elsewhere');
    await new Promise((resolve) => setTimeout(resolve, 1000)); // the list comes with it
    await pressButton(studio.page, 'Save note');
    await studio.text('.noted', /see “night-1”!$/);
    studio.errors.length = 0; // the browser logs the refusal, as it should

    await studio.page.evaluate('history.back()');
    await until(['runs/night-1', 'runs/night-10']);
    await studio.page.focus('input[type="search"]');
    await studio.page.evaluate(`document.querySelector('input[type="search"]').select()`);
    await studio.page.keyboard.type('cold');
    await until(['runs/night-10']);
    await studio.check();
    assert.deepEqual(await listed(), ['runs/night-10']);
    await remove('night-1', 'night-2', 'night-10');
  });

  it('counts steps, epochs or time, zooms, moves, smooths', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    await openRun('runs/live');
    const total = lastLine(path.join(folder, 'runs', 'live')).step;
    const range = '.range';
    const upTo = (end: number): RegExp => new RegExp(`^0 to ${end.toLocaleString('en-US')}$`);
    await studio.text(range, upTo(total));
    await studio.page.select('.toolbar select', 'epoch');
    await studio.text(range, upTo(total / 2)); // two steps an epoch
    await studio.page.select('.toolbar select', 'time');
    await studio.text(range, /^0 s to [\d.]+ (s|min)$/);
    await studio.page.select('.toolbar select', 'step');
    await studio.text(range, upTo(total));

    // a drag over the middle half of the chart
    await studio.page.evaluate(`document.querySelector('[data-column="loss"]').scrollIntoView()`);
    const box = await (await studio.page.waitForSelector('[data-column="loss"] .u-over'))!.boundingBox();
    const at = (share: number): [number, number] => [box!.x + share * box!.width, box!.y + box!.height / 2];
    await studio.page.mouse.move(...at(0.25));
    await studio.page.mouse.down();
    await studio.page.mouse.move(...at(0.75), { steps: 5 });
    await studio.page.mouse.up();
    const zoomed = /^([\d.,]+) to ([\d.,]+)$/.exec(await studio.text(range, /^[1-9][\d.,]* to /))!;
    const [from, to] = zoomed.slice(1).map((text) => Number(text.replaceAll(',', '')));
    assert.ok(
      Math.abs(from! - total / 4) < total / 20 && Math.abs(to! - (3 * total) / 4) < total / 20,
      zoomed[0],
    );

    await studio.page.focus('.charts');
    await studio.page.keyboard.press('ArrowRight');
    await studio.page.waitForFunction(
      `document.querySelector('.range').innerText !== ${JSON.stringify(zoomed[0])}`,
    );
    await studio.page.keyboard.press('0');
    await studio.text(range, upTo(total));
    await unfold();
    await studio.page.waitForSelector('[data-column="lr"]');
    const [loss, lr, wd] = [await inWords('loss'), await inWords('lr'), await inWords('wd')];
    await studio.page.evaluate(`{ const input = document.querySelector('.toolbar input[type=range]');
      input.value = '0.9'; input.dispatchEvent(new Event('input', { bubbles: true })); }`);
    await studio.text('.toolbar output', /^0\.90$/);
    assert.notEqual(await inWords('loss'), loss);
    assert.equal(await inWords('lr'), lr, 'a schedule has no noise, and is not bent');
    assert.equal(await inWords('wd'), wd);
    await studio.page.click('.toolbar input[type=checkbox]');
    await studio.check();
  });

  it('says that a run was deleted while it was shown, and keeps showing the others', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    await openRun('runs/copy');
    await studio.text(newest('loss'), /\d/);
    rmSync(path.join(folder, 'runs', 'copy'), { recursive: true });
    await studio.text('.failure', /moved or deleted/);
    await openRun('runs/first');
    await studio.text(newest('loss'), exactly(short(lastLine(first).loss)));
    studio.errors.length = 0; // the browser logs that the deleted run could not be had, as it should
    await studio.check();
  });
});
