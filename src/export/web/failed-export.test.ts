/** What a web export that fails leaves behind: the export before it, or a folder into which the same call writes again. */
import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { DataError } from '../../errors.js';
import { buildBackbone } from '../../models/index.js';
import { Model } from '../../model.js';
import type { GalleryImage, WebManifest } from '../../plain/web-manifest.js';
import { hashFill } from '../../testing/hash-fill.js';
import { makeImageFolder } from '../../testing/image-folder.js';
import { exportWeb } from './export-web.js';
import type { GallerySource } from './gallery.js';

const WIDTH = 32;
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-web-failed-'));
const images = path.join(folder, 'images');
let model: Model;
before(async () => {
  const options = { arch: 'vit', patchSize: 8, imgSize: 32, embedDim: WIDTH, depth: 1, numHeads: 2 } as const;
  model = new Model(hashFill(buildBackbone(options), 0.1).eval(), options, 'memory', 'cpu');
  await makeImageFolder(images, { classes: 2, perClass: 3 });
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

const jsonIn = <T>(site: string, name: string): T =>
  JSON.parse(readFileSync(path.join(site, name), 'utf8')) as T;
const filesIn = (site: string): string[] =>
  readdirSync(site, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(site, path.join(entry.parentPath, entry.name)))
    .sort();
/** That a folder holds a whole export and nothing else. */
const assertWhole = (site: string): void =>
  assert.deepEqual([...jsonIn<WebManifest>(site, 'model.json').files, 'model.json'].sort(), filesIn(site));

/** Images with features of our own: row i is a ramp that begins at i. */
function known(paths: readonly string[]): GallerySource {
  const features = Float32Array.from(
    { length: paths.length * WIDTH },
    (_, i) => 1 + (((i % WIDTH) + Math.floor(i / WIDTH)) % WIDTH),
  );
  return { root: images, paths, labels: paths.map((file) => path.basename(file)), features, skipped: [] };
}
const paths = [0, 1].flatMap((c) => [0, 1, 2].map((i) => path.join(images, `class-${c}`, `image-${i}.png`)));

/** An export that is aborted as soon as the label of the fourth image is asked for. */
async function breakOff(site: string): Promise<void> {
  const controller = new AbortController();
  const source = known(paths);
  Object.defineProperty(source.labels, 3, {
    get() {
      controller.abort(new Error('stopped'));
      return null;
    },
  });
  await assert.rejects(exportWeb(model, site, { images: source, signal: controller.signal }), /stopped/);
}

it('leaves an earlier export whole until the images are embedded', async () => {
  const site = path.join(folder, 'kept');
  await exportWeb(model, site, { images, title: 'The first' });
  await assert.rejects(exportWeb(model, site, { images: path.join(folder, 'imgaes') }), DataError);
  const controller = new AbortController();
  await assert.rejects(
    exportWeb(model, site, {
      ...{ images, signal: controller.signal },
      onProgress: () => controller.abort(new Error('stopped')),
    }),
    /stopped/,
  );
  assert.equal(jsonIn<WebManifest>(site, 'model.json').title, 'The first');
  assertWhole(site);
});

it('goes on where one broke off while it was writing, with or without an export before it', async () => {
  const site = path.join(folder, 'broken-off');
  for (const round of ['into a new folder', 'over an export']) {
    await breakOff(site);
    const left = filesIn(site);
    assert.ok(left.includes(path.join('gallery', '0', '003.webp')), `${round}: ${left.join()}`);
    assert.ok(!left.includes('index.html'), `${round}: a page of half an export`);
    await exportWeb(model, site); // without images: what was written of theirs must not stay
    assertWhole(site);
    assert.equal(jsonIn<WebManifest>(site, 'model.json').gallery, null);
  }
});

it('removes no file of your own that has a name of ours, when it goes on', async () => {
  const site = path.join(folder, 'own');
  await exportWeb(model, site);
  const own = path.join(site, 'pictures', '0', '000.webp'); // these images are too small to have one
  mkdirSync(path.dirname(own), { recursive: true });
  writeFileSync(own, 'mine');
  await breakOff(site);
  await exportWeb(model, site);
  assert.equal(readFileSync(own, 'utf8'), 'mine');
});

it('leaves out an image that became unreadable, and names it', async () => {
  const site = path.join(folder, 'unreadable');
  const hidden = path.join(folder, 'hidden.png');
  const [first = '', second = ''] = paths;
  renameSync(first, hidden);
  try {
    writeFileSync(first, 'broken');
    const result = await exportWeb(model, site, { images: known(paths) });
    assert.deepEqual(
      result.skipped.map((one) => one.path),
      [first],
    );
    assert.match(result.skipped[0]!.reason, /not a JPEG, PNG.*"broken"/);
    assert.equal(result.images, 5);
    assertWhole(site);
    const { gallery } = jsonIn<WebManifest>(site, 'model.json');
    assert.equal(gallery!.count, 5);
    assert.deepEqual([...gallery!.samples].sort(), [0, 1, 2, 3, 4]);
    const entries = jsonIn<GalleryImage[]>(site, gallery!.images);
    assert.deepEqual(
      entries.map(({ name }) => name),
      paths.slice(1).map((file) => path.relative(images, file)),
    );
    assert.equal(entries[0]!.label, path.basename(second));
    const bytes = readFileSync(path.join(site, gallery!.features));
    const rows = new Float32Array(Uint8Array.from(bytes).buffer);
    assert.equal(rows.length, 5 * WIDTH);
    assert.ok(Math.abs(rows[1]! / rows[0]! - 3 / 2) < 1e-5, 'the second image has its own features');

    await assert.rejects(
      exportWeb(model, site, { images: known([first]) }),
      (error) =>
        error instanceof DataError &&
        error.message.includes(`none of the 1 images can be read: ${first}: not a JPEG`),
    );
    await exportWeb(model, site, { images: known([second]) });
    assertWhole(site);
  } finally {
    renameSync(hidden, first);
  }
});
