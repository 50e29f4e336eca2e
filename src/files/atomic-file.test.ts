import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { CheckpointError, DataError } from '../errors.js';
import { writeFileWhole, writeWhole } from './atomic-file.js';

const folder = mkdtempSync(path.join(tmpdir(), 'dino-atomic-'));
after(() => rmSync(folder, { recursive: true }));
const at = (...names: string[]): string => path.join(folder, ...names);

function refused(work: () => void): string {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof DataError || error instanceof CheckpointError, String(error));
    return error.message;
  }
  return assert.fail('expected to be refused');
}

test('what is wrong with a file is said by the name that it was given', () => {
  const absent = refused(() => writeFileWhole(at('absent', 'f.npy'), 'x'));
  assert.equal(absent, `${at('absent', 'f.npy')} can't be written: ENOENT: no such file or directory`);
  mkdirSync(at('a folder.npy'));
  const isFolder = refused(() => writeFileWhole(at('a folder.npy'), 'x', { failure: CheckpointError }));
  assert.match(isFolder, /a folder\.npy can't be written: E\w+: [^,]*$/);
  writeFileSync(at('a-file'), '');
  assert.match(
    refused(() => writeFileWhole(at('a-file', 'f.npy'), 'x')),
    /a-file\/f\.npy can't be written: ENOTDIR: not a directory$/,
  );
  // what fails while it is written, and names another file, keeps that name
  const other = refused(() => writeWhole(at('out'), () => closeSync(openSync(at('missing'), 'r'))));
  assert.match(other, /out can't be written: ENOENT: .*open '.*missing'$/);
  assert.ok(!existsSync(at('out')));
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('.partial-')),
    [],
    'nothing is left behind',
  );
});
