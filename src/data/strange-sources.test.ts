/** Things that replace the files beside the images, and files that decompress to far more: none makes a reader hang or fill the memory. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { listDavis } from '../eval/davis-dataset.js';
import { readRevisited } from '../eval/revisited.js';
import { writeTinyRun } from '../testing/saved-run.js';
import { putStrange } from '../testing/strange-files.js';
import { listWatched } from '../run/film-folder.js';
import { describeWeights } from '../weights/describe.js';
import { labelImageSize, readLabelImage } from '../eval/indexed-png.js';

const bin = fileURLToPath(new URL('../../bin/dino.js', import.meta.url));
const top = mkdtempSync(path.join(os.tmpdir(), 'dino-sources-'));
const run = path.join(top, 'run');
/** What would block whoever reads it, or fill the memory. */
const KINDS: Record<string, RegExp> = {
  'a FIFO': /expected a regular file, but it is a FIFO/,
  'a link to a device': /expected a regular file, but it is a device|is a symbolic link/,
};
const inTop = (...parts: string[]): string => {
  mkdirSync(path.dirname(path.join(top, ...parts)), { recursive: true });
  return path.join(top, ...parts);
};

before(() => void writeTinyRun(run));
after(() => rmSync(top, { recursive: true }));

describe('something that is not a file', { timeout: 120_000 }, () => {
  it('is refused as weights, and as a description of weights', async () => {
    const file = path.join(run, 'checkpoints', 'step-00000012', 'teacher.safetensors');
    for (const [kind, reason] of Object.entries(KINDS)) {
      await putStrange(kind, inTop('weights.pth'));
      assert.throws(() => describeWeights(inTop('weights.pth')), reason);
      const folder = inTop('hugging');
      cpSync(file, inTop('hugging', 'model.safetensors'));
      await putStrange(kind, inTop('hugging', 'config.json'));
      // without config.json a folder is not one of Hugging Face's
      assert.throws(() => describeWeights(folder));
      assert.equal(describeWeights(path.join(folder, 'model.safetensors')).run, null);
      const copy = inTop('copy');
      cpSync(run, copy, { recursive: true });
      await putStrange(kind, inTop('copy', 'metrics.jsonl'));
      assert.equal(describeWeights(copy).run!.lastMetrics, null);
      mkdirSync(inTop('copy', 'watch', 'one'), { recursive: true });
      await putStrange(kind, inTop('copy', 'watch', 'one', 'image.json'));
      assert.deepEqual(listWatched(copy), []);
    }
    assert.equal(describeWeights(run).run!.lastMetrics!['step'], 10);
  });

  it('is refused as settings, ground truth and masks', async () => {
    for (const [kind, reason] of Object.entries(KINDS)) {
      await putStrange(kind, inTop('settings.json'));
      const args = ['train', top, '--output', inTop('out'), '--config', inTop('settings.json')];
      const { stderr, status } = spawnSync(process.execPath, [bin, ...args], {
        encoding: 'utf8',
        timeout: 60_000,
      });
      assert.notEqual(status, 0);
      assert.match(stderr, reason);
      await putStrange(kind, inTop('roxford5k', 'gnd_roxford5k.pkl'));
      assert.throws(() => readRevisited(top, 'roxford5k'), reason);
      mkdirSync(inTop('JPEGImages', '480p'), { recursive: true });
      await putStrange(kind, inTop('ImageSets', '2017', 'val.txt'));
      await assert.rejects(listDavis(top), reason);
      await putStrange(kind, inTop('mask.png'));
      await assert.rejects(readLabelImage(inTop('mask.png')), reason);
      await assert.rejects(labelImageSize(inTop('mask.png')), reason);
    }
  });
});

describe('a mask', () => {
  const chunk = (name: string, data: Buffer): Buffer => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    return Buffer.concat([length, Buffer.from(name, 'latin1'), data, Buffer.alloc(4)]);
  };

  it('that decompresses to far more than its pixels is refused with little memory', async () => {
    const png = await sharp({ create: { width: 16, height: 16, channels: 3, background: 'black' } })
      .png({ palette: true })
      .toBuffer();
    writeFileSync(inTop('good.png'), png);
    assert.equal((await readLabelImage(inTop('good.png'))).labels.length, 256);
    const bomb = deflateSync(Buffer.alloc(2 ** 28));
    const idat = png.indexOf('IDAT') - 4;
    const parts = [png.subarray(0, idat), chunk('IDAT', bomb), chunk('IEND', Buffer.alloc(0))];
    writeFileSync(inTop('bomb.png'), Buffer.concat(parts));
    const before = process.resourceUsage().maxRSS;
    await assert.rejects(readLabelImage(inTop('bomb.png')), /damaged PNG/);
    // as a colour profile, which is not needed, it is skipped
    const profile = chunk('iCCP', Buffer.concat([Buffer.from('x\0\0', 'latin1'), bomb]));
    writeFileSync(inTop('profile.png'), Buffer.concat([png.subarray(0, 33), profile, png.subarray(33)]));
    assert.equal((await readLabelImage(inTop('profile.png'))).labels.length, 256);
    assert.ok(process.resourceUsage().maxRSS - before < 100 * 1024);
  });
});
