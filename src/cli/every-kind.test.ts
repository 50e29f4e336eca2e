/**
 * A folder with a file of every kind, good and bad, for each command that takes images: what it used, what it skipped and
 * what it left out are together all files that are there, hidden ones aside. What it left out is said in its messages.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { listImages } from '../data/index.js';
import { writeLabelImage } from '../eval/indexed-png.js';
import { fixtureImage } from '../testing/fixture-image.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { jpegOf, rawTar } from '../testing/shards.js';
import { putStrange, STRANGE } from '../testing/strange-files.js';

const bin = fileURLToPath(new URL('../../bin/dino.js', import.meta.url));
const top = mkdtempSync(path.join(os.tmpdir(), 'dino-every-kind-'));
const at = (...parts: string[]) => path.join(top, ...parts);
const all = at('all');
const good = at('good');
const closing: (() => void)[] = [];
let files: number;
/** What the last command had to say. */
let said: string;

const picture = (seed: number) =>
  sharp(fixtureImage(40, 40, seed), { raw: { width: 40, height: 40, channels: 3 } });
const FORMATS = ['jpeg', 'png', 'webp', 'gif', 'tiff', 'avif'] as const;
/** Files that are not images, or that may be when more formats are read. */
const OTHERS = {
  'a.heic': '\0\0\0\x18ftypheic',
  'b.jxl': '\xff\x0a',
  'c.psd': '8BPS',
  'd.jp2': '\0\0\0\x0cjP  ',
  'e.BMP': 'BM',
  'f.txt': 'text',
  'g.svg': '<svg/>',
  'no extension': 'x',
  'h.jpg.part': 'x',
  'i.tar.gz': 'x',
};

before(async () => {
  writeTinyRun(at('run'));
  await writeColourFolders(good, 2);
  rmSync(path.join(good, 'green'), { recursive: true });
  for (const name of ['blue', 'red']) mkdirSync(path.join(all, name), { recursive: true });
  for (const [i, format] of FORMATS.entries()) {
    const bytes = await picture(i).toFormat(format).toBuffer();
    writeFileSync(path.join(all, i % 2 === 0 ? 'blue' : 'red', `IMG.${i}.${format}`), bytes);
  }
  for (const [i, kind] of Object.keys(STRANGE).entries())
    closing.push(await putStrange(kind, path.join(all, 'red', `strange ${i}.png`)));
  for (const [name, content] of Object.entries(OTHERS))
    writeFileSync(path.join(all, 'blue', name), content, 'latin1');
  const jpeg = await jpegOf(1);
  writeFileSync(path.join(all, 'blue', 'x.tar::y.jpg'), jpeg);
  writeFileSync(path.join(all, 'red', 'shard.tar'), rawTar([{ name: '1.jpg', content: jpeg }]));
  writeFileSync(path.join(all, 'red', 'table.parquet'), 'PAR1');
  symlinkSync('nowhere', path.join(all, 'red', 'broken link'));
  symlinkSync('IMG.0.jpeg', path.join(all, 'blue', 'link.jpg'));
  symlinkSync('..', path.join(all, 'blue', 'up'));
  mkdirSync(path.join(all, 'empty'));
  mkdirSync(path.join(all, '.hidden'));
  writeFileSync(path.join(all, '.hidden', 'x.jpg'), jpeg);
  writeFileSync(path.join(all, 'blue', '.DS_Store'), 'x');
  if (process.platform === 'linux') {
    const unnamed = Buffer.from(`${all}/caf\xe9`, 'latin1');
    mkdirSync(unnamed);
    writeFileSync(Buffer.concat([unnamed, Buffer.from('/1.jpg')]), jpeg);
    writeFileSync(Buffer.from(`${all}/blue/\xfc.png`, 'latin1'), jpeg);
  }
  files = count(Buffer.from(all));
});
after(() => {
  for (const close of closing) close();
  rmSync(top, { recursive: true });
});

/** All that is not a folder or hidden, counted without the code that is tested. */
function count(folder: Buffer): number {
  let sum = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, encoding: 'buffer' })) {
    if (entry.name[0] === 46 || entry.name.equals(Buffer.from('up'))) continue;
    const place = Buffer.concat([folder, Buffer.from('/'), entry.name]);
    sum += entry.isDirectory() ? count(place) : 1;
  }
  return sum;
}

interface Result extends Record<string, unknown> {
  skipped: { path: string; reason: string }[];
  leftOut: { count: number; byExtension: Record<string, number> };
}

/** Runs a command; what it left out must be in its messages, and each skipped file or their number. */
function dino(...args: string[]): Result {
  const env = { ...process.env, XDG_CACHE_HOME: at('cache') };
  const options = { encoding: 'utf8', timeout: 180_000, env } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args, '--json'], options);
  assert.equal(status, 0, stderr);
  const result = JSON.parse(stdout.trim().split('\n').at(-1)!) as Result;
  said = stderr;
  const warnings = stderr.split('\n').filter((line) => line.startsWith('warning: '));
  if (result.leftOut.count > 0) assert.match(warnings.join('\n'), /other files were left out \(/);
  assert.match(warnings.join('\n'), /2 shards were left out because there are images beside them/);
  if (process.platform === 'linux')
    assert.match(warnings.join('\n'), /2 files were left out because their names/);
  return result;
}

/** @param used - Images that were used. @param there - Files that were there. */
function addsUp({ skipped, leftOut }: Pick<Result, 'skipped' | 'leftOut'>, used: unknown, there: number) {
  assert.equal(
    Object.values(leftOut.byExtension).reduce((sum, n) => sum + n, 0),
    leftOut.count,
  );
  assert.equal(new Set(skipped.map((one) => one.path)).size, skipped.length);
  assert.equal(Number(used) + skipped.length + leftOut.count, there);
}

const CPU = ['--device', 'cpu', '--num-workers', '0'];

it('embed, index and export to the web', () => {
  const embedded = dino('embed', at('run'), all, '--output', at('f.npy'), ...CPU);
  const [images] = embedded['shape'] as number[];
  assert.ok(images! >= FORMATS.length + 2);
  assert.ok(embedded.skipped.length >= Object.keys(STRANGE).length);
  addsUp(embedded, images, files);
  const indexed = dino('index', at('run'), all, '--output', at('index'), ...CPU);
  // blue/link.jpg leads to an image that is there
  assert.equal(indexed['repeated'], 1);
  addsUp(indexed, Number(indexed['images']) + 1, files);
  const web = dino('export', at('run'), '--output', at('web'), '--format', 'web', '--images', all);
  addsUp(web, web['images'], files);
});

it('shard, and shards that are read again', async () => {
  const sharded = dino('shard', all, '--output', at('shards'));
  addsUp(sharded, sharded['images'], files);
  assert.equal((await listImages(at('shards'))).items.length, sharded['images']);
});

it('eval knn and eval linear', () => {
  const there = files + 4;
  const given = ['--train', all, '--val', good, ...CPU];
  const knn = dino('eval', 'knn', at('run'), ...given, '--k', '1');
  addsUp(knn, Number(knn['trainImages']) + Number(knn['valImages']), there);
  const linear = dino('eval', 'linear', at('run'), ...given, '--epochs', '1', '--output', at('linear'));
  addsUp(linear, Number(linear['trainImages']) + Number(linear['valImages']), there);
});

it('eval copy-detection and eval attention-segmentation', async () => {
  mkdirSync(at('copydays', 'original'), { recursive: true });
  mkdirSync(at('copydays', 'strong'), { recursive: true });
  for (const name of ['200000', '200100']) {
    const bytes = await jpegOf(Number(name));
    for (const part of ['original', 'strong']) writeFileSync(at('copydays', part, `${name}.jpg`), bytes);
  }
  const copies = dino(
    ...['eval', 'copy-detection', at('run'), '--data-path', at('copydays'), '--distractors-path', all],
    ...['--imsize', '32', ...CPU],
  );
  addsUp(copies, copies['distractors'], files);

  mkdirSync(at('masks', 'blue'), { recursive: true });
  const mask = { create: { width: 40, height: 40, channels: 3, background: 'white' } } as const;
  for (const name of ['blue/IMG.0.png', 'blue/IMG.2.png'])
    await sharp(mask).toColourspace('b-w').png().toFile(at('masks', name));
  const cut = dino(
    'eval',
    'attention-segmentation',
    at('run'),
    '--images',
    all,
    '--masks',
    at('masks'),
    '--device',
    'cpu',
  );
  addsUp(cut, Number(cut['images']) + Number(cut['withoutMask']), files);
});

it('classify and segment', () => {
  const model = at('classifier.safetensors');
  const fitted = dino('classify', 'fit', at('run'), all, '--output', model, '--c', '1', ...CPU);
  addsUp(fitted, fitted['images'], files);
  const predicted = dino('classify', 'predict', model, all, ...CPU);
  addsUp(predicted, (predicted['predictions'] as unknown[]).length, files);

  const masks = at('segment-masks', 'blue');
  mkdirSync(masks, { recursive: true });
  const labels = Uint8Array.from({ length: 1600 }, (_, i) => (i % 40 < 20 ? 0 : 1));
  for (const name of ['IMG.0.png', 'IMG.2.png'])
    writeLabelImage(path.join(masks, name), { width: 40, height: 40, labels });
  const small = ['--device', 'cpu', '--size', '32'];
  const segmenter = at('segmenter.safetensors');
  const given = [all, at('segment-masks'), '--output', segmenter, '--folds', '0', ...small];
  const segmented = dino('segment', 'fit', at('run'), ...given);
  addsUp(segmented, Number(segmented['images']) + (segmented['withoutMask'] as string[]).length, files);
  const labelled = dino('segment', 'predict', segmenter, all, '--output', at('segmented'), '--device', 'cpu');
  addsUp(labelled, (labelled['images'] as unknown[]).length, files);
});

it('train, with k-NN of other images', () => {
  cpSync(good, at('knn'), { recursive: true });
  writeFileSync(at('knn', 'blue', 'a.heic'), 'x');
  const settings =
    '--arch vit --embed-dim 24 --depth 1 --num-heads 2 --patch-size 8 --out-dim 16 --head-hidden-dim 16 ' +
    '--head-bottleneck-dim 8 --global-crops-size 32 --local-crops-size 16 --local-crops-number 1 --batch-size 4 ' +
    '--epochs 2 --warmup-epochs 0 --precision fp32 --watch-images none --threads 1 --max-bad-share 1 --knn-every 1';
  const knn = ['--knn-train', at('knn'), '--knn-val', good];
  const { leftOut } = dino('train', all, '--output', at('trained'), ...settings.split(' '), ...knn, ...CPU);
  const { imageCount } = JSON.parse(readFileSync(at('trained', 'config.json'), 'utf8')) as {
    imageCount: number;
  };
  // those that can't be read are among them, and are skipped when their turn comes
  assert.equal(imageCount + leftOut.count, files);
  assert.equal(said.split('knn: 1 other file was left out (1 .heic)').length - 1, 1); // of two evaluations
});

it('an archive of the same files', async () => {
  const members = ['blue', 'red'].flatMap((folder) =>
    readdirSync(path.join(all, folder), { withFileTypes: true })
      .filter((entry) => entry.isFile() && !/^\.|^strange|\ufffd/.test(entry.name))
      .map((entry) => `${folder}/${entry.name}`),
  );
  writeFileSync(
    at('all.tar'),
    rawTar(members.map((name) => ({ name, content: readFileSync(path.join(all, name)) }))),
  );
  const list = await listImages(at('all.tar'));
  // the tar among them is read: one image for one file
  addsUp({ skipped: list.unreadable, leftOut: list.leftOut }, list.items.length, members.length);
  assert.ok(list.items.length >= FORMATS.length + 2);
});
