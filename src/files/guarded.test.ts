/** Files that an attacker prepared: links, FIFOs, devices, huge files and hard links. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, it } from 'node:test';
import { CheckpointError, DataError } from '../errors.js';
import { writeFileWhole } from './atomic-file.js';
import { FileBytes } from './file-bytes.js';
import {
  makeFolder,
  openToRead,
  openToWrite,
  readEnd,
  readGuarded,
  readTextIfThere,
  removeWithin,
} from './guarded.js';

let all: string;
let within: string;
let outside: string;
beforeEach(() => {
  all = mkdtempSync(path.join(os.tmpdir(), 'dino-guarded-'));
  within = path.join(all, 'run');
  outside = path.join(all, 'outside');
  mkdirSync(path.join(within, 'sub'), { recursive: true });
  mkdirSync(outside);
  writeFileSync(path.join(outside, 'precious'), 'precious');
});
afterEach(() => {
  // nothing outside is touched by any of it
  assert.equal(readFileSync(path.join(outside, 'precious'), 'utf8'), 'precious');
  rmSync(all, { recursive: true });
});

const link = (to: string, name: string): string => {
  const at = path.join(within, name);
  symlinkSync(to, at);
  return at;
};

it('follows no link below the folder, whichever part of the path it is', () => {
  const file = link(path.join(outside, 'precious'), 'link');
  const folder = link(outside, 'folder');
  const dangling = link(path.join(outside, 'new'), 'dangling');
  for (const place of [file, path.join(folder, 'precious'), dangling]) {
    assert.throws(() => readGuarded(place, { within, maxBytes: 100 }), /is a symbolic link \(to ".*outside/);
    assert.throws(() => readTextIfThere(place, { within, maxBytes: 100 }), DataError);
    for (const start of ['append', 'empty', 'new'] as const)
      assert.throws(() => openToWrite(place, { within, start }), DataError);
    assert.throws(() => new FileBytes(place, within), CheckpointError);
  }
  const inside = path.join(folder, 'precious');
  assert.throws(() => writeFileWhole(inside, 'x', { within }), DataError);
  assert.throws(() => makeFolder(path.join(folder, 'made'), { within }), DataError);
  assert.throws(() => removeWithin(inside, { within }), DataError);
  assert.ok(!existsSync(path.join(outside, 'new')) && !existsSync(path.join(outside, 'made')));
});

it('follows links to the folder itself, and where no folder is given', () => {
  const alias = path.join(all, 'alias');
  symlinkSync(within, alias);
  writeFileSync(path.join(within, 'sub', 'text'), 'text');
  const options = { within: alias, maxBytes: 4 };
  assert.equal(readGuarded(path.join(alias, 'sub', 'text'), options).toString(), 'text');
  const precious = link(path.join(outside, 'precious'), 'link');
  assert.equal(readGuarded(precious, { maxBytes: 8 }).toString(), 'precious');
  assert.throws(() => readGuarded(path.join(outside, 'precious'), options), /internal: .* is not in/);
});

it('removes and replaces a link itself, never what it leads to', () => {
  const folder = link(outside, 'folder');
  removeWithin(folder, { within });
  assert.ok(!existsSync(folder));
  const file = link(path.join(outside, 'precious'), 'link');
  writeFileWhole(file, 'new', { within });
  assert.equal(readFileSync(file, 'utf8'), 'new');
});

it(
  'neither waits for a FIFO nor reads a device, a folder, or a file that is too large',
  { timeout: 20_000 },
  () => {
    const fifo = path.join(within, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const options = { within, maxBytes: 1000 };
    assert.throws(() => readGuarded(fifo, options), /expected a regular file, but it is a FIFO/);
    assert.throws(() => openToWrite(fifo, { within }), /expected a regular file, but it is a FIFO|ENXIO/);
    assert.throws(() => readGuarded('/dev/zero', { maxBytes: 1000 }), /it is a device/);
    assert.throws(() => readGuarded(path.join(within, 'sub'), options), /it is a folder/);
    const sparse = path.join(within, 'sparse');
    writeFileSync(sparse, '');
    truncateSync(sparse, 2 ** 31);
    assert.throws(() => openToRead(sparse, options), /2147483648 bytes; at most 1000/);
  },
);

it('writes in place: at the end, after emptying, or only into a new file', () => {
  const file = path.join(within, 'sub', 'log');
  const write = (text: string, start?: 'append' | 'empty' | 'new'): void => {
    const fd = openToWrite(file, start === undefined ? { within } : { within, start });
    writeSync(fd, text);
    closeSync(fd);
  };
  write('a', 'new');
  write('b');
  assert.equal(readFileSync(file, 'utf8'), 'ab');
  assert.throws(() => write('c', 'new'), /EEXIST/);
  write('d', 'empty');
  assert.equal(readTextIfThere(file, { within, maxBytes: 10 }), 'd');
  assert.equal(readTextIfThere(`${file}s`, { within, maxBytes: 10 }), null);
});

it('reads the end of a file, or of what was added to it', () => {
  const file = path.join(within, 'sub', 'ended');
  writeFileSync(file, 'before, after');
  assert.equal(readEnd(file, 5, { within }), 'after');
  assert.equal(readEnd(file, 100, { within }), 'before, after');
  assert.equal(readEnd(file, 100, { within, from: 8 }), 'after');
  assert.equal(readEnd(file, 3, { within, from: 8 }), 'ter');
  for (const from of [13, 20]) assert.equal(readEnd(file, 100, { within, from }), '');
});

it('does not write through a second name of a file', () => {
  const file = path.join(within, 'log');
  linkSync(path.join(outside, 'precious'), file);
  for (const start of ['append', 'empty'] as const)
    assert.throws(() => openToWrite(file, { within, start }), /also known by another name/);
});

it('makes missing folders below a folder, but never that folder again', () => {
  const deep = path.join(within, 'a', 'b');
  makeFolder(deep, { within });
  makeFolder(deep, { within }); // they exist
  assert.ok(existsSync(deep));
  const gone = path.join(all, 'renamed');
  assert.throws(() => makeFolder(path.join(gone, 'checkpoints'), { within: gone }), DataError);
  assert.ok(!existsSync(gone), 'a folder that was renamed away was made again');
  makeFolder(gone, { within: gone });
  assert.ok(existsSync(gone));
  writeFileSync(path.join(within, 'file'), '');
  assert.throws(() => makeFolder(path.join(within, 'file'), { within }), DataError);
  assert.throws(() => makeFolder(path.join(within, 'file', 'sub'), { within }), DataError);
});
