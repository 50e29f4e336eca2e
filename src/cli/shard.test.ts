/** `dino shard` as a user runs it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { jpegOf, rawTar } from '../testing/shards.js';

const bin = fileURLToPath(new URL('../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-shard-'));
after(() => rmSync(folder, { recursive: true }));

it('counts in words what it indexed, one or more', async () => {
  const content = await jpegOf(1);
  const shard = path.join(folder, 'a.tar');
  const indexed = (): string => {
    const { stdout, stderr } = spawnSync(process.execPath, [bin, 'shard', folder, '--index'], {
      encoding: 'utf8',
    });
    return stdout || assert.fail(stderr);
  };
  writeFileSync(shard, rawTar([{ name: 'cat/1.jpg', content }]));
  assert.match(indexed(), /^1 image in 1 shard, 1 class\nindex: .*\(1 shard read, /);
  writeFileSync(shard, rawTar(['cat/1.jpg', 'dog/2.jpg'].map((name) => ({ name, content }))));
  writeFileSync(path.join(folder, 'b.tar'), rawTar([{ name: 'dog/3.jpg', content }]));
  assert.match(indexed(), /^3 images in 2 shards, 2 classes\nindex: .*\(2 shards read, /);
});
