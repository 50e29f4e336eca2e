/** The section Look, in a real browser, on real runs. Its failures are in look-failures.test.ts. */
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser } from 'puppeteer-core';
import sharp from 'sharp';
import { scaleToUnit, viridis } from '../plain/colors.js';
import { type LookedImage, lookAt } from '../explain/look.js';
import { buildBackbone } from '../models/index.js';
import { likeness, meanMap } from '../plain/maps.js';
import { unpackArrays } from '../plain/packed.js';
import type { LookFacts } from '../plain/studio-api/index.js';
import { listCheckpoints } from '../run/checkpoint-files.js';
import { launchBrowser } from '../testing/browser.js';
import { hashFill } from '../testing/hash-fill.js';
import { writeCheckerboard } from '../testing/image-folder.js';
import {
  contrastOf,
  drawOnlyMaps,
  dropFile,
  giveFile,
  lookSettled,
  patchColours,
  pressButton,
  setSlider,
  showView,
  textsOf,
  worstColour,
} from '../testing/page.js';
import { writeOfficialWeights } from '../testing/saved-run.js';
import { looksAs, looksUnlike } from '../testing/screenshot.js';
import { openStudio } from '../testing/studio.js';
import { newestCheckpoint } from '../run/checkpoint-places.js';
import { trainWatchedRun, watchedPaths } from '../testing/watched-run.js';
import { listWatched } from '../run/film-folder.js';
import { loadModel } from '../model.js';
import { writeSafetensors } from '../weights/safetensors.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-look-'));
const { images, run, picture, wide } = watchedPaths(folder);
const official = path.join(folder, 'weights', 'dino_vit_tiny16.pth');
/** A drawn image, for the reference picture of the section. */
const fixed = path.join(images, 'class-1', 'fixed.png');
const SIDE = 64;
let browser: Browser | string;

before(async () => {
  browser = await launchBrowser();
  await trainWatchedRun(folder);
  const disc = Uint8Array.from({ length: 60 * 90 * 3 }, (_, i) => {
    const [x, y, channel] = [Math.floor(i / 3) % 90, Math.floor(i / 270), i % 3];
    const isInside = (x - 30) ** 2 + (y - 28) ** 2 < 400;
    return isInside ? [230, 180, 40][channel]! : 2 * x + y;
  });
  await sharp(disc, { raw: { width: 90, height: 60, channels: 3 } })
    .png()
    .toFile(fixed);
  writeOfficialWeights(official, 'vit_tiny');
});
after(async () => {
  if (typeof browser !== 'string') await browser.close();
  rmSync(folder, { recursive: true });
});

const lookAddress = (query: Record<string, string>): string =>
  `#/look?${new URLSearchParams(query).toString()}`;

describe('the section Look', () => {
  it('shows what a run and an official file see: attention, likeness within and between images, colours', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    try {
      await studio.show('#/look');
      await studio.text('select option', /runs\/first|first/);
      await studio.check();
      const choices = await textsOf(page, 'main select option');
      assert.ok(
        choices.some((one) => /dino_vit_tiny16\.pth/.test(one)),
        choices.join(),
      );
      assert.ok(choices.includes('newest') && choices.includes('step 3'), choices.join());

      for (const [weights, name] of [
        [run, 'run'],
        [official, 'official'],
      ] as const) {
        using model = loadModel(weights, { device: 'cpu' });
        await studio.show(lookAddress({ weights, image: picture }));
        await page.reload();
        await lookSettled(studio.page);
        const [usual] = (await lookAt(model, [picture])).images;
        assert.ok(usual !== undefined);
        assert.match(
          (await textsOf(page, '.seen figcaption'))[0]!,
          new RegExp(`${usual.rows} × ${usual.columns} patches`),
        );
        // every head at full overlay is the map that the library gives
        await drawOnlyMaps(page);
        const patches = usual.rows * usual.columns;
        for (let head = 1; head <= usual.heads; head++) {
          await setSlider(page, 'Head', head);
          await studio.text('.card h2', new RegExp(`Attention, head ${head}`));
          const colours = await patchColours(page, '.seen canvas', usual.rows, usual.columns);
          const unit = scaleToUnit(usual.maps.slice((head - 1) * patches, head * patches));
          const worst = worstColour(colours, [...unit].map(viridis));
          assert.ok(worst <= 3, `${name}, head ${head}: off by ${worst} of 255`);
        }
        assert.equal(
          (await textsOf(page, '[aria-label="What the model sees"] .heads [aria-pressed]')).length,
          usual.heads + 1,
        );
      }
      await studio.check();

      // a second image, at a chosen resolution
      using model = loadModel(official, { device: 'cpu' });
      await setSlider(page, 'Resolution', 2 * SIDE);
      await lookSettled(studio.page);
      await studio.show(lookAddress({ weights: official, image: picture, second: wide }));
      await page.reload();
      await lookSettled(studio.page, 2);
      await setSlider(page, 'Resolution', 3 * SIDE); // not the usual size, which has 8 x 12 patches
      await studio.text('.seen figcaption', /wide\.png: 12 × 18 patches/);
      await lookSettled(studio.page, 2);
      const both = await lookAt(model, [picture, wide], { imageSize: 3 * SIDE });
      const [first, second] = both.images;
      assert.ok(first !== undefined && second !== undefined);
      // row 2, column 3 of the first image, by the keys
      await page.focus('.seen canvas');
      for (const key of ['ArrowDown', 'ArrowRight', 'ArrowRight', 'Enter'] as const)
        await page.keyboard.press(key);
      await studio.text('.card h2', /Likeness to the patch in row 2, column 3 of image-0\.png/);
      const labels = await textsOf(page, '.seen ~ .map-side .sliders label');
      assert.deepEqual(labels, ['Drawn', 'Strength', 'Resolution'], 'no slider that would do nothing');
      await drawOnlyMaps(page);
      const patch = first.columns + 2;
      const query = first.features!.subarray(patch * both.embedDim, (patch + 1) * both.embedDim);
      const found = likeness(query, second.features!);
      const shown = await patchColours(page, '.seen:nth-of-type(2) canvas', second.rows, second.columns);
      const worst = worstColour(
        shown,
        [...found].map((value) => viridis(Math.max(0, value))),
      );
      assert.ok(worst <= 4, `likeness: off by ${worst} of 255`);
      await page.hover('.seen:nth-of-type(2) canvas');
      const middle = await studio.text('.seen:nth-of-type(2) .reading', /row 7, column 10/);
      const value = Number(/: (-?[\d.]+)/.exec(middle)![1]);
      assert.ok(Math.abs(value - found[6 * second.columns + 9]!) < 2e-3, middle);
      await studio.check();
      // without a pinned patch the likeness follows the pointer, across both images
      await pressButton(page, 'Unpin the patch');
      /** Likeness to the patch that the title names, in the first image, and that patch's name. */
      const likeTitle = async (): Promise<{ values: Float32Array; place: string }> => {
        const title = await studio.text(
          '.card h2',
          /Likeness to the patch in row \d+, column \d+ of wide\.png/,
        );
        const [place, row, column] = /row (\d+), column (\d+)/.exec(title)!;
        const at = (Number(row) - 1) * second.columns + Number(column) - 1;
        const wanted = second.features!.subarray(at * both.embedDim, (at + 1) * both.embedDim);
        return { values: likeness(wanted, first.features!), place };
      };
      await page.hover('.seen:nth-of-type(2) canvas');
      const { values } = await likeTitle();
      const follows = await patchColours(page, '.seen:nth-of-type(1) canvas', first.rows, first.columns);
      const unit = [...values].map((one) => viridis(Math.max(0, one)));
      assert.ok(worstColour(follows, unit) <= 4, 'the other image follows too');
      await page.click('.seen:nth-of-type(2) canvas');
      await studio.text('.map-side', /Pinned/);
      await page.hover('.seen:nth-of-type(1) canvas');
      const pinned = await likeTitle();
      await page.click('.map-side input[type=checkbox]'); // scale by image
      const scaled = await patchColours(page, '.seen:nth-of-type(1) canvas', first.rows, first.columns);
      const whole = [...scaleToUnit(pinned.values)].map(viridis);
      assert.ok(worstColour(scaled, whole) <= 4, 'from the smallest to the largest');
      // what was seen is in the address
      await page.reload();
      await lookSettled(page, 2);
      await setSlider(page, 'Resolution', 3 * SIDE);
      await studio.text('.seen figcaption', /wide\.png: 12 × 18 patches/);
      await lookSettled(page, 2);
      assert.equal((await likeTitle()).place, pinned.place);
      await drawOnlyMaps(page);

      await showView(page, 'Parts in colour');
      await studio.text('.card h2', /principal components/);
      for (const isMasked of [false, true]) {
        if (isMasked) await page.click('.map-side input[type=checkbox]'); // only the foreground
        for (const [i, image] of both.images.entries()) {
          const canvas = `.seen:nth-of-type(${i + 1}) canvas`;
          const colours = await patchColours(page, canvas, image.rows, image.columns);
          const all = (isMasked ? image.colours : image.allColours)!;
          const expected = Array.from({ length: image.rows * image.columns }, (_, at) => [
            ...all.slice(at * 3, at * 3 + 3),
          ]);
          assert.ok(worstColour(colours, expected) <= 3, `colours of image ${i}`);
        }
      }
      await studio.check();
    } finally {
      await studio.close();
    }
  });

  it('shows likeness and parts in colour of a ResNet with class attention, such as the demo trains', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const backbone = hashFill(buildBackbone({ arch: 'resnet_class_attention', embedDim: 32, depth: 3 }), 0.5);
    const weights = path.join(folder, 'weights', 'asked.safetensors');
    writeSafetensors(weights, backbone.stateDict(), {});
    using model = loadModel(weights, { device: 'cpu' });
    const { images: looked, embedDim } = await lookAt(model, [wide]);
    const [{ rows, columns, features, allColours }] = looked as [LookedImage];
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    try {
      await studio.show(lookAddress({ weights, image: wide, view: 'likeness', patch: '0-20' }));
      await page.reload();
      await lookSettled(page);
      const figure = new RegExp(`wide\\.png: ${rows} × ${columns} patches`);
      await studio.text('.seen figcaption', figure);
      assert.deepEqual(
        await page.evaluate(`[...document.querySelectorAll('.tabs button')].map((one) => one.disabled)`),
        [false, false, false],
      );
      const title = `Likeness to the patch in row ${Math.floor(20 / columns) + 1}, column ${(20 % columns) + 1}`;
      await studio.text('.card h2', new RegExp(title));
      await drawOnlyMaps(page);
      const query = features!.subarray(20 * embedDim, 21 * embedDim);
      const values = [...likeness(query, features!)];
      assert.ok(Math.min(...values) < 0.9, 'the patches differ');
      const shown = await patchColours(page, '.seen canvas', rows, columns);
      const expected = values.map((value) => viridis(Math.max(0, value)));
      assert.ok(worstColour(shown, expected) <= 4);
      await showView(page, 'Parts in colour');
      await studio.text('.card h2', /principal components/);
      const colours = Array.from({ length: rows * columns }, (_, at) => [
        ...allColours!.slice(at * 3, at * 3 + 3),
      ]);
      assert.ok(worstColour(await patchColours(page, '.seen canvas', rows, columns), colours) <= 3);
      await studio.check();
    } finally {
      await studio.close();
      rmSync(weights);
    }
  });

  it('takes a dropped, pasted and picked image, and one of the folders', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    try {
      await studio.show(lookAddress({ weights: run }));
      await page.waitForSelector('input[type="file"]');
      // an image to begin with is one click away, and a slider leads through the run's checkpoints
      await page.waitForSelector('.samples button img');
      await page.click('.samples button');
      await lookSettled(page);
      await studio.text('.sliders output', /^step 3$/);
      await setSlider(page, 'Checkpoint', 0);
      await studio.text('.sliders output', /^step 1$/);
      await lookSettled(page);
      await giveFile(page, 'input[type="file"]', wide);
      await lookSettled(studio.page);
      await studio.text('.image-choices', /wide\.png/);
      // of an image that was given, too, it shows what each checkpoint attends to; the student's changes faster
      await drawOnlyMaps(page);
      await page.select('main .row label:nth-of-type(3) select', 'student');
      const checkpoints = listCheckpoints(run);
      const expected: number[][][] = [];
      for (const at of [0, checkpoints.length - 1]) {
        const { step, folder: weights } = checkpoints[at]!;
        using model = loadModel(weights, { device: 'cpu', checkpointKey: 'student' });
        const [{ rows, columns, maps, heads }] = (await lookAt(model, [wide])).images as [LookedImage];
        expected.push([...scaleToUnit(meanMap(maps, heads))].map(viridis));
        await setSlider(page, 'Checkpoint', at);
        await studio.text('.sliders output', new RegExp(`^step ${step}$`));
        let worst = Infinity;
        for (let left = 100; worst > 3 && left > 0; left--)
          worst = worstColour(await patchColours(page, '.seen canvas', rows, columns), expected.at(-1)!);
        assert.ok(worst <= 3, `step ${step}: off by ${worst} of 255`);
      }
      const changed = worstColour(expected[0]!, expected[1]!);
      assert.ok(changed > 6, `the checkpoints attend to different patches: ${changed} of 255`);
      // with a name that would not fit on a phone
      for (const event of ['drop', 'paste'] as const) {
        await page.evaluate(`(async () => {
          const canvas = new OffscreenCanvas(40, 40);
          canvas.getContext('2d').fillRect(5, 5, 20, 20);
          const file = new File([await canvas.convertToBlob()], '${'long-'.repeat(30)}${event}.png', { type: 'image/png' });
          const data = new DataTransfer();
          data.items.add(file);
          const init = { bubbles: true, cancelable: true };
          const event = '${event}' === 'drop'
            ? new DragEvent('drop', { ...init, dataTransfer: data })
            : new ClipboardEvent('paste', { ...init, clipboardData: data });
          ('${event}' === 'drop' ? document.querySelector('.pick-image') : document).dispatchEvent(event);
        })()`);
        await studio.text('.seen figcaption', new RegExp(`${event}\\.png`));
        await lookSettled(studio.page);
      }
      await studio.check();
      // out of the studio's folders
      await page.click('.image-choices details summary');
      await page.waitForSelector('.folder-images button svg.icon path'); // a sign that needs no font
      for (const name of [path.basename(folder), 'images']) {
        await page.evaluate(
          `[...document.querySelectorAll('.folder-images button')].find((one) => one.innerText.includes(${JSON.stringify(name)}))?.click()`,
        );
        await studio.text('.folder-images .note', new RegExp(name));
      }
      await page.waitForSelector('.folder-images img');
      await page.click('.folder-images .heads button');
      await studio.text('.seen figcaption', /wide\.png/);
      await studio.check();
    } finally {
      await studio.close();
    }
  });

  it('keeps what was seen, holds long names on a phone, and takes a file that is dropped beside the box', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const long = path.join(images, 'class-0', `${'a-long-name-'.repeat(15)}.png`);
    copyFileSync(picture, long);
    const longRun = path.join(folder, 'runs', `a-run-${'whose-name-goes-on-'.repeat(10)}without-a-space`);
    cpSync(run, longRun, { recursive: true });
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    const shows = (name: RegExp): Promise<string> => studio.text('.seen figcaption', name);
    const valueOf = (label: string): Promise<unknown> =>
      page.evaluate(
        `document.getElementById([...document.querySelectorAll('.sliders label')].find((one) => one.textContent === ${JSON.stringify(label)}).htmlFor).value`,
      );
    try {
      await page.setViewport({ width: 390, height: 844 });
      await studio.show(lookAddress({ weights: run, image: long }));
      await lookSettled(page);
      const right = (await page.evaluate(
        `Math.max(...[...document.querySelectorAll('.sliders *, .image-choices *')].map((one) => one.getBoundingClientRect().right))`,
      )) as number;
      assert.ok(right <= 390, `the sliders reach to ${right} of 390 pixels`);
      for (const address of [
        lookAddress({ weights: longRun }),
        lookAddress({ weights: longRun, image: picture }),
        `#/find?${new URLSearchParams({ new: '1', weights: longRun, images }).toString()}`,
      ]) {
        await studio.show(address);
        await studio.text('main option', /whose-name-goes-on/);
        if (address.includes('image=')) await lookSettled(page);
        const beyond = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
        assert.equal(beyond, 0, address);
      }
      await studio.check();
      await page.setViewport({ width: 1200, height: 800 });

      await studio.show(lookAddress({ weights: run, image: long }));
      await lookSettled(page);
      await dropFile(page, 'main h1', wide);
      await shows(/^wide\.png/);
      await lookSettled(page);
      await setSlider(page, 'Head', 2);
      await setSlider(page, 'Strength', 0.3);
      await setSlider(page, 'Attention shown', 0.5);
      await setSlider(page, 'Resolution', 2 * SIDE);
      await page.waitForFunction(`/size=128/.test(location.hash) && /head=2/.test(location.hash)`);
      await page.reload();
      await lookSettled(page);
      await shows(/^wide\.png/);
      await studio.text('.card h2', /Attention, head 2/);
      for (const [label, value] of [
        ['Head', '2'],
        ['Strength', '0.3'],
        ['Attention shown', '0.5'],
        ['Resolution', String(2 * SIDE)],
      ] as const)
        assert.equal(await valueOf(label), value, label);
      await showView(page, 'Parts in colour');
      await studio.text('.card h2', /principal components/);
      await page.evaluate('history.back()');
      await studio.text('.card h2', /Attention, head 2/);
      await page.evaluate('history.back()');
      await shows(/^a-long-name-/);
      await page.evaluate('history.forward()');
      await shows(/^wide\.png/);
      await studio.check();
    } finally {
      await studio.close();
      rmSync(long);
      rmSync(longRun, { recursive: true });
    }
  });

  it('pages through a folder of more than 1,000 images', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const many = path.join(folder, 'many');
    mkdirSync(many);
    for (let i = 0; i < 1005; i++) linkSync(picture, path.join(many, `${String(i).padStart(4, '0')}.png`));
    const studio = await openStudio(browser, [many]);
    const { page } = studio;
    try {
      await studio.show(lookAddress({ weights: run }));
      await studio.text('main', /There are no models/); // which moves what is below it
      await page.click('.image-choices details summary');
      await studio.text('.folder-images button', /many/);
      await page.evaluate(
        `[...document.querySelectorAll('.folder-images button')].find((one) => one.innerText.includes('many')).click()`,
      );
      await studio.text('.folder-images .note', /Images 1 to 1,000 of 1,005/);
      await pressButton(page, 'Next');
      await studio.text('.folder-images .note', /Images 1,001 to 1,005 of 1,005/);
      const names = await textsOf(page, '.folder-images .heads button');
      assert.deepEqual(
        names.map((name) => name.trim()),
        [1000, 1001, 1002, 1003, 1004].map((i) => `${i}.png`),
      );
      await pressButton(page, 'Previous');
      await studio.text('.folder-images .note', /Images 1 to 1,000 of 1,005/);
    } finally {
      await studio.close();
      rmSync(many, { recursive: true });
    }
  });

  it('matches its reference picture: one head over the image', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    const name = 'look-attention';
    // without text, whose lines differ between fonts, a small part of the picture counts
    const [SEEN, EXACTLY] = ['.seen canvas', { allowed: 0.004 }] as const;
    try {
      await studio.show(lookAddress({ weights: official, image: fixed }));
      await page.reload();
      await lookSettled(studio.page);
      await setSlider(page, 'Resolution', 3 * SIDE); // not the usual size, which has 8 x 12 patches
      await studio.text('.seen figcaption', /fixed\.png: 12 × 18 patches/);
      await lookSettled(studio.page);
      await setSlider(page, 'Head', 2);
      await looksAs(page, SEEN, name, EXACTLY);
      // what it must not pass for
      for (const head of [0, 1, 3]) {
        await setSlider(page, 'Head', head);
        await looksUnlike(page, SEEN, name, EXACTLY);
      }
      await setSlider(page, 'Head', 2);
      await setSlider(page, 'Strength', 0.2);
      await looksUnlike(page, SEEN, name, EXACTLY);
      await setSlider(page, 'Strength', 0.85);
      await looksAs(page, SEEN, name, EXACTLY);
      await showView(page, 'Parts in colour');
      await studio.text('.card h2', /principal components/);
      await looksUnlike(page, SEEN, name, EXACTLY);
    } finally {
      await studio.close();
    }
  });

  it('draws an image as sharp as its file, however coarsely the model sees it', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const fine = path.join(images, 'fine.png');
    await writeCheckerboard(fine);
    const studio = await openStudio(browser, [folder]);
    const { page } = studio;
    try {
      await studio.show(lookAddress({ weights: run, image: fine, strength: '0.05' }));
      await lookSettled(page);
      // what the model sees comes first, and is grey
      let contrast = 0;
      for (let left = 100; contrast < 60 && left > 0; left--, await sleep(50))
        contrast = await contrastOf(page, '.seen canvas');
      assert.ok(contrast > 60, `it has black and white squares: ${contrast}`);
      assert.deepEqual(studio.errors, []);
    } finally {
      await studio.close();
      rmSync(fine);
    }
  });

  it('says that not all folders were looked through for weights', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const many = path.join(folder, 'many-folders');
    for (let i = 0; i < 2000; i++) mkdirSync(path.join(many, `class-${i}`), { recursive: true });
    const studio = await openStudio(browser, [many]);
    try {
      for (const address of [
        lookAddress({}),
        `#/find?${new URLSearchParams({ new: '1', images: many }).toString()}`,
      ]) {
        await studio.show(address);
        const text = await studio.text('main', /Not all folders were looked through for weights/);
        assert.doesNotMatch(text, /no models? in this/);
        await studio.check();
      }
    } finally {
      await studio.close();
    }
  });

  it('reads nothing outside its folders', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const runs = path.join(folder, 'runs');
    const studio = await openStudio(browser, [runs]);
    try {
      const ask = (body: unknown) =>
        fetch(`${studio.studio.origin}/api/look`, {
          method: 'POST',
          headers: { authorization: `Bearer ${studio.studio.token}`, 'content-type': 'application/json' },
          body: JSON.stringify(body),
        });
      const base = { weights: run, checkpointKey: 'teacher', images: [{ path: picture }], side: null };
      assert.equal((await ask(base)).status, 403, 'an image elsewhere');
      const link = path.join(runs, 'link.png');
      symlinkSync(picture, link);
      assert.equal((await ask({ ...base, images: [{ path: link }] })).status, 403, 'a link to it');
      rmSync(link);
      const inside = listWatched(run)[0]!.picture;
      assert.equal((await ask({ ...base, images: [{ path: inside }] })).status, 200);
      const student = path.join(newestCheckpoint(run)!, 'student.safetensors');
      assert.equal(
        (await ask({ ...base, weights: student, images: [{ path: inside }] })).status,
        200,
        'typed',
      );
      assert.equal((await ask({ ...base, weights: official, images: [{ path: inside }] })).status, 403);
      // a checkpoint whose file is a link
      const forged = path.join(runs, 'forged');
      mkdirSync(forged);
      symlinkSync(official, path.join(forged, 'teacher.safetensors'));
      assert.equal((await ask({ ...base, weights: forged, images: [{ path: inside }] })).status, 403);
      rmSync(forged, { recursive: true });
      assert.equal((await ask({ ...base, images: [{ upload: '../../x' }] })).status, 404);
      assert.equal((await ask({ ...base, images: [] })).status, 400);
      const huge = await ask({ ...base, images: [{ path: inside }], side: 8192 });
      assert.equal(huge.status, 200);
      const { facts } = unpackArrays(new Uint8Array(await huge.arrayBuffer()));
      const [{ rows, columns, limit }] = (facts as LookFacts).images as [LookFacts['images'][number]];
      assert.ok(rows * columns <= 4096 && limit === 4096, `no more than fit: ${rows} x ${columns}, ${limit}`);
    } finally {
      await studio.close();
    }
  });
});
