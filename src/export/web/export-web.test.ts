/** `dino export --format web`: the folder, and its page in a real Chromium, served from a path below a server's root. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, Page } from 'puppeteer-core';
import sharp from 'sharp';
import { DataError } from '../../errors.js';
import { scaleToUnit, viridis } from '../../plain/colors.js';
import { applyWhitening, whitenEmbeddings } from '../../eval/whiten-embeddings.js';
import { classifyFeature, type LinearHead, type MeasuredAccuracy } from '../../plain/classifier-head.js';
import { likeness, massMask } from '../../plain/maps.js';
import { massMasks } from '../../explain/attention.js';
import { lookAt } from '../../explain/look.js';
import { buildBackbone } from '../../models/index.js';
import { pageProblems } from '../../testing/accessibility.js';
import { launchBrowser, openPage, serveFolders } from '../../testing/browser.js';
import { hashFill } from '../../testing/hash-fill.js';
import { makeImageFolder } from '../../testing/image-folder.js';
import {
  drawOnlyMaps,
  dropFile,
  giveFile,
  patchColours,
  pressButton,
  setSlider,
  showView,
  textsOf,
  worstColour,
} from '../../testing/page.js';
import { oddWords } from '../../testing/odd-words.js';
import { fromTypedArray, scope } from '../../torch/index.js';
import { Model } from '../../model.js';
import { checkOnnx } from '../onnx/check.js';
import { exportWeb } from './export-web.js';
import type { WebManifest } from '../../plain/web-manifest.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-web-'));
const images = path.join(folder, 'images');
const site = path.join(folder, 'site');
const query = path.join(folder, 'query.png');
let model: Model;
/** A ResNet with class attention, and its page. */
let asked: Model;
const askedSite = path.join(folder, 'asked');

/** A classifier of the patches' mean, at a size of its own. */
const TAKES = { features: 'patch-mean', layers: 1, resize: 48, crop: 40 } as const;
const HEAD: LinearHead = {
  ...{ kind: 'logistic', classes: ['red', 'green disc', 'blue'], temperature: 1.5 },
  transform: {
    mode: 'center',
    mean: Float32Array.from({ length: 96 }, (_, d) => 0.02 * Math.sin(d)),
    matrix: null,
  },
  weight: Float32Array.from({ length: 3 * 96 }, (_, i) => 2 * Math.sin(1.3 * i)),
  bias: Float32Array.of(0.1, -0.2, 0.3),
};
const MEASURED: MeasuredAccuracy = {
  ...{ from: 'cross-validation', images: 21 },
  ...{ accuracy: 0.9, low: 0.8, high: 0.95, ece: 0.04 },
};

before(async () => {
  const shape = { embedDim: 96, depth: 3, numHeads: 3 };
  const options = { arch: 'vit', patchSize: 8, imgSize: 32, ...shape } as const;
  // weights large enough for attention to be far from uniform
  model = new Model(hashFill(buildBackbone(options), 0.1).eval(), options, 'memory', 'cpu');
  const sizes = { arch: 'resnet_class_attention', embedDim: 32, depth: 3, imgSize: 32 } as const;
  const told = { ...sizes, numHeads: 8, patchSize: 8 };
  asked = new Model(hashFill(buildBackbone(sizes), 0.5).eval(), told, 'memory', 'cpu');
  await makeImageFolder(images, { classes: 3, perClass: 7 });
  await sharp(path.join(images, 'class-1', 'image-3.png'))
    .resize(90, 60, { fit: 'fill' })
    .toFile(query);
});
after(() => {
  model.dispose();
  asked.dispose();
  rmSync(folder, { recursive: true });
});

const manifestOf = (where: string): WebManifest =>
  JSON.parse(readFileSync(path.join(where, 'model.json'), 'utf8')) as WebManifest;

/** Everything under a folder, relative to it. */
const filesIn = (where: string): string[] =>
  readdirSync(where, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(where, path.join(entry.parentPath, entry.name)))
    .sort();

describe('the folder', () => {
  it('holds all that it names, nothing of this machine, and a model that gives our numbers', async () => {
    const result = await exportWeb(model, site, {
      ...{ images, title: 'Discs & <colours>', whiten: 'pca' },
      classifier: { head: HEAD, takes: TAKES, origin: { measured: MEASURED } },
    });
    assert.deepEqual(result.classes, HEAD.classes);
    const manifest = manifestOf(site);
    assert.deepEqual(manifest.gallery?.transform, { mode: 'pca', file: 'gallery/transform.bin' });
    assert.equal(statSync(path.join(site, 'gallery/transform.bin')).size, 4 * (96 + 96 * 96));
    assert.deepEqual([...manifest.files, 'model.json'].sort(), filesIn(site));
    assert.equal(result.images, 21);
    assert.equal(manifest.gallery?.count, 21);
    assert.deepEqual(result.skipped, []);
    assert.equal(manifest.files.filter((name) => name.endsWith('.webp')).length, 21);
    for (const name of manifest.files.filter((file) => /\.(json|html|js|css)$/.test(file))) {
      const text = readFileSync(path.join(site, name), 'utf8');
      assert.ok(!text.includes(folder), `${name} names a folder of this machine`);
      if (/\.(json|html|css)$/.test(name)) assert.doesNotMatch(text, /https?:\/\//, name);
    }
    const check = await checkOnnx(model, result.model, { imageSize: [56, 72], isExact: false });
    assert.deepEqual(Object.keys(check!.differences).sort(), [
      'class_attention',
      'class_token',
      'patch_tokens',
    ]);
    assert.ok(check!.cosine > 0.9999, `fp16: ${check!.cosine}`);
  });

  it('stores weights in 32, 16 or 8 bits', async () => {
    const sizes: Record<string, number> = {};
    for (const dtype of ['fp32', 'fp16', 'q8'] as const) {
      const where = path.join(folder, dtype);
      const result = await exportWeb(model, where, { dtype });
      sizes[dtype] = manifestOf(where).model.bytes;
      const check = await checkOnnx(model, result.model, { imageSize: [40, 32], isExact: dtype === 'fp32' });
      assert.ok(
        check!.cosine > { fp32: 0.999999, fp16: 0.9999, q8: 0.97 }[dtype],
        `${dtype}: ${check!.cosine}`,
      );
    }
    assert.ok(
      sizes['fp16']! < 0.6 * sizes['fp32']! && sizes['q8']! < 0.5 * sizes['fp32']!,
      JSON.stringify(sizes),
    );
  });

  it('is replaced by the next export, of which other files are no part; foreign folders are left alone', async () => {
    const where = path.join(folder, 'again');
    await exportWeb(model, where, { images });
    writeFileSync(path.join(where, 'CNAME'), 'mine');
    await exportWeb(model, where);
    assert.deepEqual([...manifestOf(where).files, 'model.json', 'CNAME'].sort(), filesIn(where));

    const foreign = path.join(folder, 'foreign');
    mkdirSync(foreign);
    writeFileSync(path.join(foreign, 'thesis.txt'), 'years');
    await assert.rejects(exportWeb(model, foreign), DataError);
    // a manifest that names files elsewhere
    const victim = path.join(folder, 'victim.txt');
    writeFileSync(victim, 'still here');
    const forged = { format: 'dino-web', files: ['../victim.txt', victim] };
    writeFileSync(path.join(foreign, 'model.json'), JSON.stringify(forged));
    await exportWeb(model, foreign);
    assert.ok(existsSync(victim) && existsSync(path.join(foreign, 'thesis.txt')));
  });

  it('has no attention of a ResNet, and says so; an XCiT has', async () => {
    const models = [
      ['resnet18', 512, 0, 1, null],
      ['xcit_small_12_p16', 384, 8, 16, 'class_attention'],
    ] as const;
    for (const [arch, embedDim, numHeads, patchSize, attention] of models) {
      const backbone = buildBackbone({ arch }).eval();
      using other = new Model(
        backbone,
        { arch, embedDim, depth: 12, numHeads, patchSize, imgSize: 64 },
        'memory',
        'cpu',
      );
      const where = path.join(folder, arch);
      const result = await exportWeb(other, where);
      assert.equal(result.attention, attention);
      assert.equal(manifestOf(where).model.heads, numHeads);
      const check = await checkOnnx(other, result.model, { imageSize: [64, 96], isExact: false });
      assert.ok(check!.cosine > 0.999, `${arch}: ${check!.cosine}`);
      assert.equal(result.patches, null);
      rmSync(where, { recursive: true });
    }
  });

  it('has attention and patch features of a ResNet with class attention', async () => {
    const result = await exportWeb(asked, askedSite, { images });
    assert.deepEqual([result.attention, result.patches], ['class_attention', 'patch_tokens']);
    const check = await checkOnnx(asked, result.model, { imageSize: [64, 96], isExact: false });
    assert.deepEqual(Object.keys(check!.differences).sort(), [
      'class_attention',
      'class_token',
      'patch_tokens',
    ]);
    assert.ok(check!.cosine > 0.9999, `fp16: ${check!.cosine}`);
  });
});

it('a mass mask is the one that libtorch gives', () => {
  const values = Float32Array.from({ length: 60 }, (_, i) => Math.abs(Math.sin(i * 7.3)) ** 3);
  for (const threshold of [0.1, 0.5, 0.6, 0.93, 1]) {
    const expected = scope(() => massMasks(fromTypedArray(values, [1, 60]), threshold).toTypedArray());
    assert.deepEqual([...massMask(values, threshold)], [...expected].map(Number));
  }
});

describe('the page', () => {
  let browser: Browser | string;
  let server: Awaited<ReturnType<typeof serveFolders>>;
  let opened: Awaited<ReturnType<typeof openPage>>;
  let root: string;
  before(async () => {
    browser = await launchBrowser();
    if (typeof browser === 'string') return;
    server = await serveFolders({ '/deep/below': site, '/asked': askedSite });
    root = `${server.origin}/deep/below`;
    opened = await openPage(browser, root);
    await opened.page.setViewport({ width: 1200, height: 1000 });
  });
  after(async () => {
    if (typeof browser === 'string') return;
    await browser.close();
    await server.close();
  });

  const page = (): Page => opened.page;
  const texts = (selector: string): Promise<string[]> => textsOf(page(), selector);
  /** Waits until what is shown is of this image. */
  const settled = async (name?: RegExp): Promise<void> => {
    const isOf =
      name === undefined
        ? 'true'
        : `${String(name)}.test(document.querySelector('.seen figcaption')?.innerText)`;
    try {
      await page().waitForFunction(
        `document.querySelector('#status')?.dataset.state === 'ready' && ${isOf} &&
         !document.querySelector('.tabs button:disabled')`,
        { timeout: 60_000, polling: 50 },
      );
    } catch (error) {
      const { errors, stopped } = opened;
      assert.fail([String(error), ...(await texts('main')), ...errors, ...stopped].join('\n'));
    }
  };
  const fine = async (): Promise<void> => {
    assert.deepEqual(await pageProblems(page()), []);
    assert.deepEqual(await oddWords(page()), []);
    assert.deepEqual(opened.errors, []);
    assert.deepEqual(opened.stopped, []);
  };
  const address = async (): Promise<string> =>
    decodeURIComponent((await page().evaluate('location.hash')) as string);
  const back = (): Promise<unknown> => page().evaluate('history.back()');
  const side = Math.round((32 * 480) / 224 / 8) * 8;

  it('begins with a sample at full size, and leads back to samples of different kinds', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    await page().goto(`${root}/index.html`);
    await settled(/image-\d+\.png/);
    assert.deepEqual(await texts('header h1'), ['Discs & <colours>']);
    assert.match((await texts('#status'))[0]!, /WebGPU|WebAssembly/);
    const names = (await page().evaluate(
      `[...document.querySelectorAll('.samples button')].map((one) => one.title)`,
    )) as string[];
    assert.equal(names.length, 12);
    assert.deepEqual(
      [...new Set(names.slice(0, 3).map((name) => name.split('/')[0]))].length,
      3,
      names.join(),
    );
    const [first, second] = names;
    const shown = async () => (await texts('.seen figcaption'))[0]!.split(':')[0];
    assert.equal(await shown(), first);
    await fine();
    await page().click('.samples li:nth-child(2) button');
    await settled(new RegExp(second!));
    assert.ok((await address()).includes(`image=${second}`));
    assert.match((await texts('.samples [aria-pressed="true"]')).join('|'), /^$/); // a picture, no words
    await page().reload();
    await settled(new RegExp(second!));
    // to a neighbour, and back
    await page().click('.gallery button');
    await page().waitForFunction(`!location.hash.includes(${JSON.stringify(encodeURIComponent(second!))})`);
    await settled();
    assert.notEqual(await shown(), second);
    await back();
    await settled(new RegExp(second!));
    await page().click('header h1 a');
    await settled(new RegExp(first!));
  });

  it('is light or dark as is chosen', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const background = (): Promise<unknown> =>
      page().evaluate('getComputedStyle(document.body).backgroundColor');
    await page().emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
    const light = await background();
    await page().select('.theme select', 'dark');
    assert.notEqual(await background(), light);
    await page().select('.theme select', 'auto');
    assert.equal(await background(), light);
    await page().emulateMediaFeatures([]);
  });

  it('draws our attention of an image that is given', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    await giveFile(page(), 'input[type="file"]', query);
    await settled(/query\.png/);
    const expected = await model.attention(query, { imageSize: side });
    const { rows, columns } = expected;
    assert.match(
      (await texts('.seen figcaption'))[0]!,
      new RegExp(`^query\\.png: ${rows} × ${columns} patches`),
    );
    const heads = (await texts('.heads button')).map((text) => text.trim());
    assert.deepEqual(heads, ['mean of heads', 'head 1', 'head 2', 'head 3']);
    await drawOnlyMaps(page());
    for (const head of [0, 1, 2, 3]) {
      await setSlider(page(), 'Head', head);
      await page().waitForFunction(
        `document.querySelector('.heads [aria-pressed="true"]')?.innerText.trim() === ${JSON.stringify(heads[head])}`,
      );
      const map =
        head === 0 ? expected.mean : expected.maps.slice((head - 1) * rows * columns, head * rows * columns);
      const colours = await patchColours(page(), '.map-view canvas', rows, columns);
      const worst = worstColour(colours, [...scaleToUnit(map)].map(viridis));
      assert.ok(worst <= 6, `head ${head}: a colour is off by ${worst} of 255`);
      // the values themselves, read patch by patch with the keys
      await page().focus('.map-view canvas');
      for (const patch of [1, 2, 3]) {
        await page().keyboard.press('ArrowRight');
        const reading = (await texts('.reading'))[0]!;
        const [, value] = /row 1, column \d+: ([\d.]+) %/.exec(reading) ?? assert.fail(reading);
        assert.ok(Math.abs(Number(value) / 100 - map[patch]!) < 2e-4, `${reading}, ours ${map[patch]}`);
      }
      await page().evaluate('document.activeElement.blur()');
    }
    // a mass of 60 %: what is left out is dark
    await setSlider(page(), 'Attention shown', 0.6);
    const last = expected.maps.slice(2 * rows * columns);
    const mask = massMask(last, 0.6);
    const dimmed = await patchColours(page(), '.map-view canvas', rows, columns);
    const unit = scaleToUnit(last);
    const wrong = dimmed.filter((colour, i) => {
      const bright = viridis(unit[i]!).reduce((sum, value) => sum + value, 0);
      const isKept = colour.reduce((sum, value) => sum + value, 0) > 0.6 * bright;
      return isKept !== (mask[i] === 1);
    });
    assert.ok(wrong.length <= 1, `${wrong.length} patches are wrongly shown or hidden`);

    // what is drawn can be saved
    const session = await page().createCDPSession();
    await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: folder });
    await pressButton(page(), 'Save as PNG');
    const saved = path.join(folder, 'query-head-3.png');
    for (let left = 200; left > 0 && !existsSync(saved); left--) await sleep(100);
    const { width, height } = await sharp(saved).metadata();
    assert.ok(Math.abs(width / height - columns / rows) < 0.05 && width > 300, `${width} x ${height}`);
  });

  it('shows likeness under the pointer, pins it, and principal components with and without the background', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const { images: looked } = await lookAt(model, [query], { imageSize: side });
    const [expected] = looked;
    const { rows, columns } = expected!;
    const place = async (): Promise<number> => {
      const title = (await texts('.card h2'))[0]!;
      const [, row, column] =
        /Likeness to the patch in row (\d+), column (\d+)/.exec(title) ?? assert.fail(title);
      return (Number(row) - 1) * columns + Number(column) - 1;
    };
    const drawn = () => patchColours(page(), '.map-view canvas', rows, columns);
    const likenessTo = (patch: number): Float32Array =>
      likeness(expected!.features!.subarray(patch * 96, (patch + 1) * 96), expected!.features!);
    await showView(page(), 'Likeness');
    await drawOnlyMaps(page());
    const box = (await (await page().$('.map-view canvas'))!.boundingBox())!;
    const at = (x: number, y: number) => [box.x + x * box.width, box.y + y * box.height] as const;
    for (const [x, y] of [
      [0.3, 0.4],
      [0.8, 0.7],
    ] as const) {
      await page().mouse.move(...at(x, y));
      const patch = Math.floor(y * rows) * columns + Math.floor(x * columns);
      await page().waitForFunction(
        `document.querySelector('.card h2')?.innerText.includes('row ${Math.floor(y * rows) + 1}, column ${Math.floor(x * columns) + 1}') ||
         document.querySelector('[aria-label="What the model sees"] h2').innerText.includes('row ${Math.floor(y * rows) + 1}, column ${Math.floor(x * columns) + 1}')`,
      );
      const found = [...likenessTo(patch)].map((value) => viridis(Math.max(0, value)));
      assert.ok(worstColour(await drawn(), found) <= 6, `patch ${patch}`);
    }
    await page().mouse.click(...at(0.3, 0.4));
    await page().waitForFunction(`location.hash.includes('patch=0-')`);
    await page().mouse.move(...at(0.9, 0.1));
    const pinned = await place();
    assert.equal(pinned, Math.floor(0.4 * rows) * columns + Math.floor(0.3 * columns));
    await page().click('.map-side input[type=checkbox]'); // scale by image
    const scaled = [...scaleToUnit(likenessTo(pinned))].map(viridis);
    assert.ok(worstColour(await drawn(), scaled) <= 6, 'from the smallest to the largest');
    await fine();

    await showView(page(), 'Parts in colour');
    for (const isMasked of [false, true]) {
      if (isMasked) await page().click('.map-side input[type=checkbox]');
      const all = (isMasked ? expected!.colours : expected!.allColours)!;
      const colours = Array.from({ length: rows * columns }, (_, i) => [...all.slice(i * 3, i * 3 + 3)]);
      // weights of 16 bits: a patch at the threshold may fall on its other side
      const off = (await drawn()).filter((colour, i) => worstColour([colour], [colours[i]!]) > 12);
      assert.ok(off.length <= 0.03 * colours.length, `${off.length} patches of ${colours.length} differ`);
    }
    await back();
    await page().waitForFunction(`location.hash.includes('view=likeness')`);
    await page().waitForFunction(
      `document.querySelector('.tabs [aria-selected="true"]')?.innerText === 'Likeness'`,
    );
  });

  it('shows them of a ResNet with class attention too', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const other = await openPage(browser, server.origin);
    try {
      const { embedDim } = asked;
      const [expected] = (await lookAt(asked, [query], { imageSize: side })).images;
      const { rows, columns } = expected!;
      const isReady = (name: RegExp) =>
        other.page.waitForFunction(
          `document.querySelector('#status')?.dataset.state === 'ready' && ${String(name)}.test(document.querySelector('.seen figcaption')?.innerText)`,
          { timeout: 60_000, polling: 50 },
        );
      await other.page.goto(`${server.origin}/asked/index.html`);
      await isReady(/image-/);
      await giveFile(other.page, 'input[type="file"]', query);
      await isReady(new RegExp(`^query\\.png: ${rows} × ${columns} patches`));
      await showView(other.page, 'Likeness');
      await drawOnlyMaps(other.page);
      await other.page.focus('.map-view canvas');
      for (const key of ['ArrowDown', 'ArrowRight', 'Enter'] as const) await other.page.keyboard.press(key);
      await other.page.waitForFunction(`location.hash.includes('patch=0-')`);
      const patch = Number(/patch=0-(\d+)/.exec((await other.page.evaluate('location.hash')) as string)![1]);
      const drawn = () => patchColours(other.page, '.map-view canvas', rows, columns);
      const features = expected!.features!;
      const found = [...likeness(features.subarray(patch * embedDim, (patch + 1) * embedDim), features)];
      assert.ok(Math.min(...found) < 0.9, 'the patches differ');
      const unit = found.map((value) => viridis(Math.max(0, value)));
      assert.ok(worstColour(await drawn(), unit) <= 8);
      await other.page.waitForFunction(`!document.querySelector('.tabs button:disabled')`);
      await showView(other.page, 'Parts in colour');
      const colours = Array.from({ length: features.length / embedDim }, (_, i) => [
        ...expected!.allColours!.slice(i * 3, i * 3 + 3),
      ]);
      const off = (await drawn()).filter((colour, i) => worstColour([colour], [colours[i]!]) > 12);
      assert.ok(off.length <= 0.03 * colours.length, `${off.length} patches of ${colours.length} differ`);
      assert.deepEqual([...other.errors, ...other.stopped], []);
    } finally {
      await other.page.close();
    }
  });

  it('finds our neighbours, and gives the label of the classifier with its probability', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const all = await model.embed(images);
    const own = await model.embed([query]);
    const { features: unitAll, whitening } = await whitenEmbeddings(model, all, { whiten: 'pca' });
    const unitOwn = applyWhitening(whitening, own.features);
    const cosines = all.paths.map((file, i) => ({
      name: path.relative(images, file).split(path.sep).join('/'),
      cosine: unitOwn.reduce((sum, value, d) => sum + value * unitAll[i * 96 + d]!, 0),
    }));
    const found = (await page().evaluate(
      `[...document.querySelectorAll('.gallery button')].map(({ dataset }) => [dataset.name, Number(dataset.cosine)])`,
    )) as [string, number][];
    assert.equal(found.length, 12);
    for (const [name, cosine] of found) {
      const ours = cosines.find((one) => one.name === name)!.cosine;
      assert.ok(Math.abs(cosine - ours) < 2e-3, `${name}: ${cosine}, ours ${ours}`);
    }
    const best = cosines.sort((a, b) => b.cosine - a.cosine);
    assert.equal(found[0]![0], best[0]!.name);
    assert.ok(found.every(([, cosine], i) => Math.abs(cosine - best[i]!.cosine) < 2e-3));

    const { features } = await model.embed([query], TAKES);
    const probabilities = [...classifyFeature(HEAD, features)];
    const order = [...probabilities.keys()].sort((a, b) => probabilities[b]! - probabilities[a]!);
    const rows = await texts('.labels li');
    assert.equal(rows.length, 3);
    rows.forEach((row, i) => {
      const [, label, share] = /^(.*\S)\s+([\d.]+) %$/s.exec(row.trim()) ?? assert.fail(row);
      assert.equal(label, HEAD.classes[order[i]!]);
      assert.ok(
        Math.abs(Number(share) / 100 - probabilities[order[i]!]!) < 0.01,
        `${row}, ours ${probabilities.join()}`,
      );
    });
    assert.match(
      (await texts('[aria-label="Label"] h2'))[0]!,
      new RegExp(`^Label: ${HEAD.classes[order[0]!]}, \\d+ %$`),
    );
    assert.match(
      (await texts('[aria-label="Label"] .note'))[0]!,
      /On 21 images by cross-validation, it was right for 90 %/,
    );
    await fine();
  });

  it('says what is wrong with a file where it happened, takes one that is dropped anywhere, and goes on', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const bad = path.join(folder, 'bad.png');
    writeFileSync(bad, 'not an image');
    await giveFile(page(), 'input[type="file"]', bad);
    await page().waitForSelector('.failure');
    assert.match((await texts('.failure'))[0]!, /bad\.png: This is not an image/);
    await dropFile(page(), 'header h1', query);
    await settled(/query\.png/);
    assert.deepEqual(await texts('.failure'), []);
    // what was given is not kept
    await page().reload();
    await page().waitForFunction(
      `document.querySelector('.choose')?.innerText.includes('is not in this page')`,
    );
    await fine();
  });
});
