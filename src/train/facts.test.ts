import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import sharp from 'sharp';
import { DataError } from '../errors.js';
import { gatherFacts, machineFacts } from './facts.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-facts-'));
after(() => rmSync(folder, { recursive: true }));

async function picture(name: string, width: number, height: number, orientation?: number): Promise<string> {
  const file = path.join(folder, name);
  const image = sharp({ create: { width, height, channels: 3, background: 'red' } }).jpeg();
  await (orientation === undefined ? image : image.withMetadata({ orientation })).toFile(file);
  return file;
}

describe('gatherFacts', () => {
  it('takes the median size, rotated as EXIF says, and skips unreadable files', async () => {
    const bad = path.join(folder, 'bad.jpg');
    writeFileSync(bad, 'text');
    const files = [
      bad,
      await picture('a.jpg', 10, 20),
      await picture('b.jpg', 30, 40),
      await picture('turned.jpg', 90, 60, 6),
    ];
    const machine = machineFacts('cpu');
    const facts = await gatherFacts(files, machine);
    assert.deepEqual([facts.images, facts.width, facts.height], [4, 30, 40]);
    assert.equal(facts.cores, os.availableParallelism());
    assert.ok(facts.memoryGiB > 0.1);
    const turned = await gatherFacts([path.join(folder, 'turned.jpg')], machine);
    assert.deepEqual([turned.width, turned.height], [60, 90]);
    await assert.rejects(gatherFacts([bad], machine), DataError);
    await assert.rejects(gatherFacts([], machine), DataError);
  });

  it('reads only a sample, however many images there are', async () => {
    const file = await picture('one.jpg', 8, 8);
    const start = performance.now();
    const facts = await gatherFacts(new Array<string>(200_000).fill(file), machineFacts('cpu'));
    assert.equal(facts.images, 200_000);
    assert.ok(performance.now() - start < 5000);
  });
});
