/**
 * Folders with content from strangers: whatever there is in place of an image, reading the folder ends, takes no more memory
 * than its images need, and lists what it left out with the reason. DINO_TEST_STRANGE=1 tries every kind in every
 * place with every reader.
 */
import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { DataError } from '../errors.js';
import { attention } from '../explain/attention.js';
import { buildIndex } from '../explore/build-index.js';
import { ImageIndex } from '../explore/image-index.js';
import { writeTinyRun } from '../testing/saved-run.js';
import { putGood, putStrange, STRANGE } from '../testing/strange-files.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { skippedPath } from '../run/run-folder.js';
import { train } from '../train/train.js';
import { loadModel, type Model } from '../model.js';
import { listImages } from './list/list-images.js';
import { jpegOf, rawTar } from '../testing/shards.js';

const KINDS = Object.keys(STRANGE);
const GOOD = 3;
const top = mkdtempSync(path.join(os.tmpdir(), 'dino-strange-'));
process.env['XDG_CACHE_HOME'] = path.join(top, 'cache');
const run = path.join(top, 'run');
let model: Model;
let folder: string;
let done: (() => void)[] = [];

before(() => {
  writeTinyRun(run);
  model = loadModel(run, { device: 'cpu' });
});
after(() => {
  model.dispose();
  rmSync(top, { recursive: true });
});
beforeEach(async () => {
  folder = path.join(top, 'images');
  await putGood(folder, GOOD);
});
afterEach(() => {
  for (const each of done) each();
  done = [];
  rmSync(folder, { recursive: true });
});

const put = async (kind: string, name: string): Promise<void> =>
  void done.push(await putStrange(kind, path.join(folder, name)));
const putAll = async (): Promise<void> => {
  for (const [i, kind] of KINDS.entries()) await put(kind, `strange ${String(i).padStart(2, '0')}.png`);
};

type Skipped = readonly { path: string; reason: string }[];

/** Every strange file once, each for its reason. */
function areTold(skipped: Skipped): void {
  assert.equal(skipped.length, KINDS.length);
  for (const [i, kind] of KINDS.entries()) {
    const name = `strange ${String(i).padStart(2, '0')}.png`;
    const found = skipped.find((one) => path.basename(one.path) === name);
    assert.match(found?.reason ?? 'not listed', STRANGE[kind]!.reason, kind);
  }
}

async function embedded(numWorkers: number): Promise<{ paths: string[]; skipped: Skipped }> {
  const { paths, skipped } = await model.embed(folder, { numWorkers, batchSize: 4 });
  return { paths, skipped };
}

const places = process.env['DINO_TEST_STRANGE'] === '1' ? [0, 1, 2] : null;

describe('a folder from a stranger', { timeout: 240_000 }, () => {
  it('is embedded, whatever there is in place of one of its images', async () => {
    for (const [i, kind] of KINDS.entries())
      for (const at of places ?? [i % GOOD]) {
        await put(kind, `good ${at}.png`);
        const { paths, skipped } = await embedded(places === null ? 0 : at % 2);
        assert.equal(paths.length, GOOD - 1, kind);
        assert.deepEqual(
          skipped.map((one) => path.basename(one.path)),
          [`good ${at}.png`],
        );
        assert.match(skipped[0]!.reason, STRANGE[kind]!.reason, kind);
        rmSync(folder, { recursive: true });
        await putGood(folder, GOOD);
      }
  });

  it('is embedded by workers when it has all of them, with the memory that its images need', async () => {
    await putAll();
    const before = process.resourceUsage().maxRSS;
    const { paths, skipped } = await embedded(2);
    const grown = (process.resourceUsage().maxRSS - before) / 1024;
    assert.equal(paths.length, GOOD);
    areTold(skipped);
    assert.ok(grown < 400, `${grown} MiB more`);
  });

  it('is indexed', async () => {
    await putAll();
    const output = path.join(top, 'index');
    await buildIndex(model, folder, { output, numWorkers: 0, weights: { given: run } });
    using index = ImageIndex.open(output);
    assert.equal(index.count, GOOD);
    areTold(index.skipped());
  });

  it('is trained on, and skipped.jsonl lists what is left out', async () => {
    await putAll();
    const output = path.join(top, 'trained');
    const settings = {
      ...TINY_SETTINGS,
      batchSize: 8,
      epochs: 1,
      warmupEpochs: 0,
      warmupTeacherTempEpochs: 0,
      maxBadShare: 1,
    };
    assert.equal((GOOD + KINDS.length) % 8, 0, 'the epoch sees every file');
    await train({ images: folder, output, settings: { ...settings, watchImages: ['none'] } });
    const lines = readFileSync(skippedPath(output), 'utf8').trim().split('\n');
    areTold(lines.map((line) => JSON.parse(line) as { path: string; reason: string }));
  });

  it('gives an error for the attention of each of them', async () => {
    await putAll();
    for (const [i, kind] of KINDS.entries()) {
      const file = path.join(folder, `strange ${String(i).padStart(2, '0')}.png`);
      await assert.rejects(attention(model, file), (error: Error) => {
        assert.ok(error instanceof DataError);
        assert.match(error.message, STRANGE[kind]!.reason, kind);
        assert.ok(error.message.includes(file));
        return true;
      });
    }
  });
});

describe('a source from a stranger', { timeout: 60_000 }, () => {
  const source = (kind: string): Promise<string> =>
    put(kind, 'source.txt').then(() => path.join(folder, 'source.txt'));

  it('that is not a file is refused, and does not block', async () => {
    await assert.rejects(
      listImages(await source('a FIFO')),
      /it is a FIFO; expected a folder or a regular file/,
    );
    await assert.rejects(listImages('/dev/zero'), /it is a device; expected/);
    await assert.rejects(listImages(await source('a socket')), /it is a socket; expected/);
    await assert.rejects(listImages(await source('a huge file of nothing')), /is not a list of images/);
  });

  it('with an endless line is refused with the number of the line, and nothing is silently left out', async () => {
    const list = path.join(folder, 'list.txt');
    writeFileSync(list, `good 0.png\n${'x'.repeat(20_000)}\ngood 1.png\n`);
    await assert.rejects(listImages(list), /line 2 has more than 16384 characters/);
    writeFileSync(list, 'good 0.png\n');
    truncateSync(list, 3 * 2 ** 30);
    await assert.rejects(listImages(list), /line 2 has more than 16384 characters/);
  });

  it('whose links multiply is listed in the end, and what was left out is reported', async () => {
    const at = (n: number): string => path.join(folder, `deep ${n}`);
    for (let n = 0; n < 30; n++) {
      mkdirSync(at(n));
      for (const name of ['a', 'b']) symlinkSync(at(n + 1), path.join(at(n), name));
    }
    await putGood(at(30), 1);
    const list = await listImages(folder);
    assert.ok(list.unreadable.some(({ reason }) => reason.includes('links lead here more than')));
    assert.ok(list.items.length > 3 && list.items.length < 10_000);
  });

  it('of shards is refused when something else is in their place', async () => {
    for (const kind of ['a FIFO', 'a link to a device', 'a socket']) {
      await put(kind, 'a.tar');
      await assert.rejects(listImages(path.join(folder, 'a.tar')), /a\.tar.* is a (FIFO|device|socket)/);
    }
    for (const name of ['a.tar', ...Array.from({ length: GOOD }, (_, i) => `good ${i}.png`)])
      rmSync(path.join(folder, name));
    writeFileSync(path.join(folder, 'a.tar'), rawTar([{ name: '1.jpg', content: await jpegOf(1) }]));
    await put('a FIFO', 'dino-shards.json');
    await assert.rejects(listImages(folder), /dino-shards\.json.*expected a regular file, but it is a FIFO/s);
    rmSync(path.join(folder, 'dino-shards.json'));
    await listImages(folder);
    const index = readdirSync(folder).find((name) => /^dino-index-.*\.bin$/.test(name))!;
    for (const kind of ['a FIFO', 'a link to a device', 'a huge file of nothing']) {
      await put(kind, index);
      assert.equal((await listImages(folder)).items.length, 1, kind);
    }
  });
});
