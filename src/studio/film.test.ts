/** The film of a run's watched images on the run's page, in a real browser, on real runs. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'puppeteer-core';
import sharp from 'sharp';
import { scaleToUnit, viridis } from '../plain/colors.js';
import { launchBrowser } from '../testing/browser.js';
import { writeCheckerboard } from '../testing/image-folder.js';
import {
  coloursAt,
  contrastOf,
  drawMaps,
  drawOnlyMaps,
  patchColours,
  pressButton,
  setSlider,
  textsOf,
  worstColour,
} from '../testing/page.js';
import { openStudio, type StudioPage } from '../testing/studio.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { trainWatchedRun, watchedPaths } from '../testing/watched-run.js';
import { readLines } from '../files/json-lines.js';
import { listWatched, readFrame } from '../run/film-folder.js';
import { metricsPath } from '../run/run-folder.js';
import { train } from '../train/train.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-film-'));
const { images, run, picture, wide } = watchedPaths(folder);
/** Another run, of another seed, whose checkpoints were written after other steps; it watches a fine pattern too. */
const other = path.join(folder, 'runs', 'other');
const fine = path.join(images, 'fine.png');
const trainChild = fileURLToPath(new URL('../testing/train-child.js', import.meta.url));
let browser: Browser | string;

before(async () => {
  browser = await launchBrowser();
  await trainWatchedRun(folder);
  await writeCheckerboard(fine);
  const settings = { ...TINY_SETTINGS, seed: 4, batchSize: 3, epochs: 12 }; // of two steps, a checkpoint after each
  const watchImages = [picture, wide, fine];
  await train({
    images: path.join(images, 'class-0'),
    output: other,
    settings: { ...settings, watchImages },
  });
});
after(async () => {
  if (typeof browser !== 'string') await browser.close();
  rmSync(folder, { recursive: true });
});

/** The canvases of a strip: the original, before training, now; of several runs the original, and each of them. */
const cell = (image: number, place: number): string =>
  `.strips li:nth-child(${image}) .cell:nth-of-type(${place + 1}) canvas`;

/** Waits until the film shows what was recorded after a step. */
const shows = ({ page }: StudioPage, step: number): Promise<unknown> =>
  page.waitForSelector(`.film[data-step="${step}"]`);

/** Draws the maps without pictures: their colours are then those of the values. */
async function onlyMaps({ page }: StudioPage): Promise<void> {
  await page.click('.film .how summary');
  await drawOnlyMaps(page, '.film');
}

/** The bytes of the file that a button gives to the browser. */
async function saved(page: Page, button: string): Promise<Buffer> {
  await page.evaluate('window.saved = undefined');
  await pressButton(page, button);
  await page.waitForFunction('window.saved !== undefined', { timeout: 60_000 });
  const base64 = (await page.evaluate(`new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(',')[1]);
    reader.readAsDataURL(window.saved);
  })`)) as string;
  return Buffer.from(base64, 'base64');
}

/** Frames of a video as its decoder sees them, (64 * 48) grey each. */
async function decode(bytes: Buffer): Promise<Buffer[]> {
  const { default: ffmpeg } = (await import('@ffmpeg-installer/ffmpeg')) as unknown as {
    default: { path: string };
  };
  const file = path.join(folder, 'film.video');
  writeFileSync(file, bytes);
  // frames of a browser that had no time may share a tick of the output's clock, so they are numbered anew
  const args = ['-v', 'error', '-i', file, '-vsync', 'drop', '-vf', 'scale=64:48', '-pix_fmt', 'gray'];
  const { stdout, stderr } = spawnSync(ffmpeg.path, [...args, '-f', 'rawvideo', '-']);
  assert.equal(String(stderr), '');
  const size = 64 * 48;
  return Array.from({ length: stdout.length / size }, (_, i) => stdout.subarray(i * size, (i + 1) * size));
}

/** A video of the film: each checkpoint is a frame, in a container of this kind. */
async function checkVideo(bytes: Buffer, kind: string, count: number): Promise<void> {
  const isMp4 = bytes.subarray(4, 8).toString() === 'ftyp';
  const isWebm = bytes.readUInt32BE(0) === 0x1a45dfa3;
  assert.deepEqual([isMp4, isWebm], [kind === 'MP4', kind === 'WebM']);
  const frames = await decode(bytes);
  assert.ok(frames.length >= count, `${frames.length} frames of ${count}`);
  const [first, last] = [frames[0]!, frames.at(-1)!];
  assert.ok(
    first.some((value, i) => Math.abs(value - last[i]!) > 20),
    'the attention changes',
  );
  assert.ok(Math.max(...first) > 240, 'on white');
}

describe('the film of watched images', () => {
  it('plays by itself: every image before training and now, under one scrubber that marks the curves', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    try {
      await studio.openRun('runs/first');
      await page.waitForSelector(cell(2, 3), { timeout: 20_000 });
      const watched = listWatched(run);
      const names = await page.evaluate(
        `[...document.querySelectorAll('.strip-image .hidden')].map((one) => one.textContent).sort()`,
      );
      assert.deepEqual(names, ['Enlarge image-0.png:', 'Enlarge wide.png:']);
      const { steps } = watched[0]!;
      // above the curves
      const tops = (await page.evaluate(
        `['.tiles', '.film', '#curves'].map((one) => document.querySelector(one).getBoundingClientRect().top)`,
      )) as number[];
      assert.ok(tops[0]! < tops[1]! && tops[1]! < tops[2]!, tops.join());
      // it loops
      for (const step of [steps[0]!, steps[1]!, steps.at(-1)!, steps[0]!]) await shows(studio, step);
      await studio.text('.film .play', /Pause/);

      await onlyMaps(studio);
      for (const [at, step] of steps.entries()) {
        await setSlider(page, 'Checkpoint', at, '.film');
        await shows(studio, step);
        for (const [i, image] of watched.entries()) {
          const { rows, columns } = image;
          for (const [place, shown] of [
            [2, 0],
            [3, step],
          ] as const) {
            const colours = await patchColours(page, cell(i + 1, place), rows, columns);
            const worst = worstColour(colours, [...scaleToUnit(readFrame(image, shown).mean)].map(viridis));
            assert.ok(worst <= 3, `${image.name}, step ${step}, cell ${place}: off by ${worst} of 255`);
          }
        }
      }
      await studio.text('.film .play', /Play/);
      // the curves say what they are at that step; what is off the screen is drawn when it comes there
      await page.evaluate(`document.querySelector('[data-column="loss"]').scrollIntoView()`);
      await page.waitForSelector('[data-column="loss"] canvas');
      const last = steps.at(-1)!;
      const { loss } = readLines(metricsPath(run)).findLast(({ step }) => step === last) as { loss: number };
      await studio.text(
        '[data-column="loss"] .readout',
        new RegExp(`^${last}: ${Number(loss.toPrecision(4))}`),
      );
      const marked = (): Promise<unknown> =>
        page.evaluate(`{ const line = document.querySelector('[data-column="loss"] .marker');
          line.hidden ? null : line.getBoundingClientRect().left; }`);
      const right = Number(await marked());
      await setSlider(page, 'Checkpoint', 1, '.film');
      await shows(studio, steps[1]!);
      let left = right;
      for (let i = 0; i < 50 && left === right; i++, await sleep(100)) left = Number(await marked()); // drawn in a later frame
      assert.ok(left > 0 && left < right, `the mark moved from ${right} to ${left}`);
      await studio.check();
    } finally {
      await studio.close();
    }
  });

  it('enlarges an image, keeps step and head for another one, and is saved as a GIF', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    try {
      await studio.openRun('runs/first');
      await page.waitForSelector(cell(2, 3), { timeout: 20_000 });
      const { steps } = listWatched(run)[0]!;
      await setSlider(page, 'Checkpoint', 1, '.film');
      await shows(studio, steps[1]!);
      await page.click('.strips li:nth-child(1) .strip-image');
      await page.waitForSelector('.film .map-view canvas');
      await setSlider(page, 'Head', 2, '.film');
      await studio.check();
      await page.click('.strips li:nth-child(2) .strip-image');
      const label = await page.evaluate(
        `document.querySelector('.film .map-view canvas').getAttribute('aria-label')`,
      );
      assert.match(String(label), new RegExp(`^Attention, head 2, for wide.png: After ${steps[1]} steps?$`));
      await page.click('.strips li:nth-child(2) .strip-image');
      await page.waitForFunction(`document.querySelector('.film .map-view') === null`);

      // by the keys
      await page.focus('.film .scrubber input');
      await page.keyboard.press('ArrowRight');
      await shows(studio, steps[2]!);
      await page.keyboard.press('Home');
      await shows(studio, steps[0]!);

      await page.evaluate(`{ const make = URL.createObjectURL;
        URL.createObjectURL = (blob) => { window.saved = blob; return make(blob); }; }`);
      const gif = await saved(page, 'Save as GIF');
      assert.equal(gif.subarray(0, 6).toString(), 'GIF89a');
      const { pages, loop, delay } = await sharp(gif, { animated: true }).metadata();
      assert.deepEqual([pages, loop], [steps.length, 0]);
      assert.ok(delay!.at(-1)! > delay![0]!, 'the end stays longer');
      await page.select('.film-controls select', 'fast');
      const fast = await sharp(await saved(page, 'Save as GIF'), { animated: true }).metadata();
      assert.ok(fast.delay![0]! < delay![0]!, 'as fast as it plays');
      await page.select('.film-controls select', 'normal');

      // by the browser's own encoder: MP4 where it has one
      const kind = (await page.evaluate(`typeof MediaRecorder === 'undefined' ? null :
        MediaRecorder.isTypeSupported('video/mp4;codecs=avc1.640028') ? 'MP4' : 'WebM'`)) as string | null;
      if (kind === null)
        assert.deepEqual(await textsOf(page, '.film-controls button'), ['Play', 'Save as GIF']);
      else await checkVideo(await saved(page, `Save as ${kind}`), kind, steps.length);

      // a frame that is damaged is a message, the others go on
      const image = listWatched(run)[0]!;
      const file = path.join(image.folder, `step-${String(steps[0]!).padStart(8, '0')}.npy`);
      const bytes = readFileSync(file);
      writeFileSync(file, 'half');
      await page.reload();
      await page.waitForSelector(cell(2, 3));
      await studio.text('.film .failure', /damaged/);
      await setSlider(page, 'Checkpoint', 1, '.film');
      await shows(studio, steps[1]!);
      assert.ok((await page.$(cell(1, 3))) !== null, 'what is there is shown');
      writeFileSync(file, bytes);
      assert.deepEqual(studio.errors, []);
    } finally {
      await studio.close();
    }
  });

  it('draws originals as sharp as their files, maps smoothly or by patch, and says what colours mean', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    const pictures: string[] = [];
    page.on('response', (response) => {
      const { pathname } = new URL(response.url());
      if (pathname.includes('/watch/')) pictures.push(`${path.basename(pathname)} ${response.status()}`);
    });
    try {
      await studio.openRun('runs/other');
      await page.waitForSelector(cell(3, 3), { timeout: 20_000 });
      assert.deepEqual(pictures, ['original 200', 'original 200', 'original 200']);
      const at = listWatched(other).findIndex(({ name }) => name.startsWith('fine'));
      const image = listWatched(other)[at]!;
      const seen = await sharp(image.picture).greyscale().stats();
      assert.ok(seen.channels[0]!.stdev < 25, 'the model sees grey');
      const contrast = await contrastOf(page, cell(at + 1, 1));
      assert.ok(contrast > 60, `the original has black and white squares: ${contrast}`);

      const last = image.steps.at(-1)!;
      await setSlider(page, 'Checkpoint', image.steps.length - 1, '.film');
      await shows(studio, last);
      await page.click('.film .how summary');
      await setSlider(page, 'Strength', 1, '.film');
      const { rows, columns } = image;
      const { mean } = readFrame(image, last);
      const [strongest, weakest] = [mean.indexOf(Math.max(...mean)), mean.indexOf(Math.min(...mean))];
      /** Places near the four corners of a patch. */
      const corners = (patch: number): [number, number][] =>
        [0.15, 0.85].flatMap((x) =>
          [0.15, 0.85].map((y): [number, number] => [
            ((patch % columns) + x) / columns,
            (Math.floor(patch / columns) + y) / rows,
          ]),
        );
      const now = cell(at + 1, 3);
      const offFrom = async (patch: number, expected: readonly (readonly number[])[]): Promise<number> =>
        worstColour(await coloursAt(page, now, corners(patch)), expected);
      const full = Array<readonly number[]>(4).fill(viridis(1));
      await drawMaps(page, 'patches', '.film');
      assert.ok(
        (await offFrom(strongest, full)) <= 3,
        'the strongest patch has one colour from edge to edge',
      );
      const original = await coloursAt(page, cell(at + 1, 1), corners(weakest));
      assert.ok((await offFrom(weakest, original)) <= 3, 'the weakest leaves the original as it is');
      await drawMaps(page, 'smooth', '.film');
      assert.ok((await offFrom(strongest, full)) > 20, 'smoothly, it fades into its neighbours');

      await page.click(`.strips li:nth-child(${at + 1}) .strip-image`);
      const scale = await studio.text('.film .map-view .color-scale', /of the attention/);
      const ends = /([\d.]+) %\s+([\d.]+) % of the attention/.exec(scale)!.slice(1).map(Number);
      [Math.min(...mean), Math.max(...mean)].forEach((value, i) =>
        assert.ok(Math.abs(ends[i]! - 100 * value) < 0.0051, `${scale}: ${value}`),
      );
      assert.deepEqual(studio.errors, []);
    } finally {
      await studio.close();
    }
  });

  it('plays as fast as was chosen, and without the loop to its end', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    try {
      await studio.openRun('runs/other');
      await page.waitForSelector(cell(3, 3), { timeout: 20_000 });
      await studio.text('.film .play', /Pause/);
      await page.click('.film-controls input[type="checkbox"]');
      const { steps } = listWatched(other)[0]!;
      /** Times between frames at a speed, from the beginning on, ms. */
      const gapsAt = async (speed: string, until: string): Promise<number[]> => {
        await setSlider(page, 'Checkpoint', 0, '.film');
        await shows(studio, 0);
        await page.select('.film-controls select', speed);
        await page.evaluate(`{ window.times = [];
          window.watching = new MutationObserver(() => window.times.push(performance.now()));
          window.watching.observe(document.querySelector('.film'), { attributeFilter: ['data-step'] }); }`);
        await pressButton(page, 'Play');
        await page.waitForFunction(until, { timeout: 60_000, polling: 50 });
        const times = (await page.evaluate('window.watching.disconnect(); window.times')) as number[];
        return times.slice(1).map((time, i) => time - times[i]!);
      };
      const middle = (values: readonly number[]): number =>
        [...values].sort((a, b) => a - b)[values.length >> 1]!;
      const fast = await gapsAt('fast', `document.querySelector('.film .play').innerText === 'Play'`);
      await shows(studio, steps.at(-1)!);
      assert.ok(
        fast.length > steps.length / 2 && fast.length < steps.length,
        `${fast.length} gaps, once through`,
      );
      const slow = await gapsAt('slow', 'window.times.length >= 4');
      assert.ok(middle(fast) < 0.75 * middle(slow), `${fast.join()} and ${slow.join()} ms`);
      assert.deepEqual(studio.errors, []);
    } finally {
      await studio.close();
    }
  });

  it('shows what two runs attend to in the same images, each at its last checkpoint up to the same step', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    try {
      await studio.show('#/runs');
      await studio.text('.runs th a', /^runs\/other$/, 30_000);
      const [id, second] = (await page.evaluate(`['runs/first', 'runs/other'].map((name) =>
        [...document.querySelectorAll('.runs th a')].find((one) => one.innerText === name).hash.split('/').at(-1))`)) as string[];
      await studio.show(`#/runs/${id}?with=${second}`);
      await page.waitForSelector(cell(2, 3), { timeout: 20_000 });
      await onlyMaps(studio);
      const [mine, others] = [listWatched(run), listWatched(other)] as const;
      const steps = [...new Set([...mine, ...others].flatMap((image) => image.steps))].sort((a, b) => a - b);
      // after 3 steps only the first has a checkpoint, after 24 only the other
      for (const [step, of] of [
        [3, [3, 2]],
        [24, [3, 24]],
      ] as const) {
        await setSlider(page, 'Checkpoint', steps.indexOf(step), '.film');
        await shows(studio, step);
        const said = (name: string, at: number): string =>
          at === step ? name : `${name}, after ${at} steps`;
        assert.deepEqual(await textsOf(page, '.strips li:nth-child(1) .cell .note'), [
          'Original',
          said('runs/first', of[0]),
          said('runs/other', of[1]),
        ]);
        for (const [i, image] of mine.entries()) {
          const same = others.find(({ name }) => name === image.name)!;
          const shown: number[][][] = [];
          for (const [place, own] of [image, same].entries()) {
            const colours = await patchColours(page, cell(i + 1, place + 2), own.rows, own.columns);
            const expected = [...scaleToUnit(readFrame(own, of[place]!).mean)].map(viridis);
            const worst = worstColour(colours, expected);
            assert.ok(worst <= 3, `${own.folder}, step ${of[place]}: off by ${worst} of 255`);
            shown.push(colours);
          }
          assert.ok(worstColour(shown[0]!, shown[1]!) > 20, 'the two runs attend to different patches');
        }
      }
      await studio.check();
    } finally {
      await studio.close();
    }
  });

  it('grows by itself while a training is running', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const growing = path.join(folder, 'runs', 'growing');
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    // an epoch is one step and a checkpoint: many, so that it is still at work when the page has been looked at
    const settings = { ...TINY_SETTINGS, epochs: 2000, saveckpFreq: 20, watchImages: [picture] };
    const child: ChildProcess = spawn(
      process.execPath,
      [trainChild, path.join(images, 'class-0'), growing, JSON.stringify(settings)],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    const ended = new Promise((resolve) => child.once('exit', resolve));
    try {
      await studio.openRun('runs/growing');
      await page.waitForSelector('.film canvas', { timeout: 60_000 });
      const seen = async (): Promise<number> =>
        Number(/(\d+) checkpoints?/.exec((await textsOf(page, '.film .note')).join())![1]);
      const shownStep = (): Promise<number> =>
        page.evaluate(`Number(document.querySelector('.film').dataset.step)`) as Promise<number>;
      const [before, stepBefore] = [await seen(), await shownStep()];
      await page.waitForFunction(`Number(document.querySelector('.film')?.dataset.step) > ${stepBefore}`, {
        timeout: 60_000,
        polling: 100,
      });
      assert.ok((await seen()) > before, 'the slider has more checkpoints');
      assert.match(await page.title(), /^\d+ % – runs\/growing – Runs/, 'the tab says how far it is');
      assert.equal(child.exitCode, null, 'the training is still at work');
      // who has gone back to an earlier one stays there
      await setSlider(page, 'Checkpoint', 0, '.film');
      await shows(studio, 0);
      const count = await seen();
      await page.waitForFunction(
        `Number(/(\\d+) checkpoints/.exec(document.querySelector('.film').innerText)[1]) > ${count}`,
        { timeout: 60_000, polling: 100 },
      );
      assert.equal(await shownStep(), 0);
      assert.deepEqual(studio.errors, []);
    } finally {
      child.kill('SIGKILL');
      await ended;
      await studio.close();
    }
  });
});
