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
import sharp from 'sharp';
import { DataError } from '../../errors.js';
import { scaleToUnit, viridis } from '../../plain/colors.js';
import { applyWhitening, whitenEmbeddings } from '../../eval/whiten-embeddings.js';
import { massMask } from '../../plain/maps.js';
import { massMasks } from '../../explain/attention.js';
import { buildBackbone } from '../../models/index.js';
import { pageProblems } from '../../testing/accessibility.js';
import { launchBrowser, openPage, serveFolders } from '../../testing/browser.js';
import { hashFill } from '../../testing/hash-fill.js';
import { makeImageFolder } from '../../testing/image-folder.js';
import { drawOnlyMaps, giveFile, patchColours, setSlider, textsOf, worstColour } from '../../testing/page.js';
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

before(async () => {
  const shape = { embedDim: 96, depth: 3, numHeads: 3 };
  const options = { arch: 'vit', patchSize: 8, imgSize: 32, ...shape } as const;
  // weights large enough for attention to be far from uniform
  model = new Model(hashFill(buildBackbone(options), 0.1).eval(), options, 'memory', 'cpu');
  await makeImageFolder(images, { classes: 3, perClass: 7 });
  await sharp(path.join(images, 'class-1', 'image-3.png'))
    .resize(90, 60, { fit: 'fill' })
    .toFile(query);
});
after(() => {
  model.dispose();
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
    const result = await exportWeb(model, site, { images, title: 'Discs & <colours>', whiten: 'pca' });
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
      rmSync(where, { recursive: true });
    }
  });
});

it('a mass mask is the one that libtorch gives', () => {
  const values = Float32Array.from({ length: 60 }, (_, i) => Math.abs(Math.sin(i * 7.3)) ** 3);
  for (const threshold of [0.1, 0.5, 0.6, 0.93, 1]) {
    const expected = scope(() => massMasks(fromTypedArray(values, [1, 60]), threshold).toTypedArray());
    assert.deepEqual([...massMask(values, threshold)], [...expected].map(Number));
  }
});

it('the page draws our attention and finds our neighbours, and asks for nothing beyond its folder', async (t) => {
  const browser = await launchBrowser();
  if (typeof browser === 'string') return t.skip(browser);
  const server = await serveFolders({ '/deep/below': site });
  try {
    const root = `${server.origin}/deep/below`;
    const { page, stopped, errors } = await openPage(browser, root);
    await page.setViewport({ width: 1200, height: 1000 });
    await page.goto(`${root}/index.html`);
    const settled = async (): Promise<void> => {
      await page.waitForSelector('#status[data-state="ready"]', { timeout: 60_000 });
    };
    const texts = (selector: string): Promise<string[]> => textsOf(page, selector);
    try {
      await settled();
    } catch (error) {
      assert.fail(
        `${String(error)}\n${(await texts('main')).join('\n')}\n${errors.join('\n')}\n${stopped.join('\n')}`,
      );
    }
    assert.deepEqual(await texts('header h1'), ['Discs & <colours>']);
    assert.match((await texts('#status'))[0]!, /WebGPU|WebAssembly/);
    assert.equal((await texts('.gallery button')).length, 12, 'images to try');
    assert.deepEqual(await pageProblems(page), []);

    await giveFile(page, 'input[type="file"]', query);
    await page.waitForSelector('#computed');
    await page.waitForSelector('.gallery button[data-cosine]');
    await settled();

    // attention, at the page's size of the picture
    const side = Math.round((32 * 480) / 224 / 8) * 8;
    const expected = await model.attention(query, { imageSize: side });
    const { rows, columns } = expected;
    assert.match((await texts('#computed'))[0]!, new RegExp(`^${rows} × ${columns} patches of 8 pixels`));
    const heads = (await texts('.heads button')).map((text) => text.trim());
    assert.deepEqual(heads, ['mean of heads', 'head 1', 'head 2', 'head 3']);
    await drawOnlyMaps(page);
    for (const head of [0, 1, 2, 3]) {
      await setSlider(page, 'Head', head);
      await page.waitForFunction(
        `document.querySelector('.heads [aria-pressed="true"]')?.innerText.trim() === ${JSON.stringify(heads[head])}`,
      );
      const map =
        head === 0 ? expected.mean : expected.maps.slice((head - 1) * rows * columns, head * rows * columns);
      const colours = await patchColours(page, '.map-view canvas', rows, columns);
      const unit = scaleToUnit(map);
      const worst = worstColour(colours, [...unit].map(viridis));
      assert.ok(worst <= 6, `head ${head}: a colour is off by ${worst} of 255`);
      // the values themselves, read patch by patch with the keys
      await page.focus('.map-view canvas');
      for (const patch of [1, 2, 3]) {
        await page.keyboard.press('ArrowRight');
        const reading = (await texts('.reading'))[0]!;
        const [, value] = /row 1, column \d+: ([\d.]+) %/.exec(reading) ?? assert.fail(reading);
        assert.ok(Math.abs(Number(value) / 100 - map[patch]!) < 2e-4, `${reading}, ours ${map[patch]}`);
      }
      await page.evaluate('document.activeElement.blur()');
    }
    // a mass of 60 %: what is left out is dark
    await setSlider(page, 'Mass shown', 0.6);
    const last = expected.maps.slice(2 * rows * columns);
    const mask = massMask(last, 0.6);
    const dimmed = await patchColours(page, '.map-view canvas', rows, columns);
    const unit = scaleToUnit(last);
    const wrong = dimmed.filter((colour, i) => {
      const bright = viridis(unit[i]!).reduce((sum, value) => sum + value, 0);
      const isKept = colour.reduce((sum, value) => sum + value, 0) > 0.6 * bright;
      return isKept !== (mask[i] === 1);
    });
    assert.ok(wrong.length <= 1, `${wrong.length} patches are wrongly shown or hidden`);

    // a patch's likeness, by keyboard
    await page.focus('.map-view canvas');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    assert.match((await texts('.card h2'))[0]!, /Likeness to the patch in row 2, column 1/);
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowUp');
    assert.match((await texts('.reading'))[0]!, /row 2, column 1: 1\.000/);
    assert.deepEqual(await pageProblems(page), []);

    // neighbours
    const all = await model.embed(images);
    const own = await model.embed([query]);
    const { features: unitAll, whitening } = await whitenEmbeddings(model, all, { whiten: 'pca' });
    const unitOwn = applyWhitening(whitening, own.features);
    const cosines = all.paths.map((file, i) => ({
      name: path.relative(images, file).split(path.sep).join('/'),
      cosine: unitOwn.reduce((sum, value, d) => sum + value * unitAll[i * 96 + d]!, 0),
    }));
    const found = (await page.evaluate(
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

    // what is no image gets a message where it happened, and the page goes on
    const bad = path.join(folder, 'bad.png');
    writeFileSync(bad, 'no image');
    await giveFile(page, 'input[type="file"]', bad);
    await page.waitForSelector('.failure');
    assert.match((await texts('.failure'))[0]!, /bad\.png: This is not an image/);
    await page.click('.gallery button, .pick-image label');
    assert.deepEqual(errors, []);
    assert.deepEqual(stopped, []);
    await page.close();
  } finally {
    await browser.close();
    await server.close();
  }
});
