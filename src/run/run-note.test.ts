import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { NOTE_LIMIT } from '../plain/limits.js';
import { changeRunNote, notePath, readRunNote } from './run-note.js';

const top = mkdtempSync(path.join(os.tmpdir(), 'dino-run-note-'));
after(() => rmSync(top, { recursive: true }));
const newRun = (): string => mkdtempSync(path.join(top, 'run-'));

test('a part of what was written is changed, the rest stays, and nothing else is left in the folder', () => {
  const run = newRun();
  assert.deepEqual(readRunNote(run), { text: '', isHidden: false });
  changeRunNote(run, { text: 'two lines\nof “words” \u{1f996} \ud800' });
  changeRunNote(run, { isHidden: true });
  assert.deepEqual(readRunNote(run), { text: 'two lines\nof “words” \u{1f996} \ud800', isHidden: true });
  changeRunNote(run, { text: '\0'.repeat(NOTE_LIMIT) }); // the longest in bytes
  assert.equal(readRunNote(run).text.length, NOTE_LIMIT);
  assert.deepEqual(readdirSync(run), ['note.json']);
});

test('a damaged note, a link and too much of a file are refused, and left as they are', () => {
  const outside = path.join(newRun(), 'outside.json');
  writeFileSync(outside, '{"text":"secret","isHidden":false}');
  for (const [content, problem] of [
    ['{"text":', /note\.json is not JSON/],
    ['{"text":1,"isHidden":false}', /note\.json is damaged/],
    ['[]', /note\.json is damaged/],
    [' '.repeat(100_000), /at most \d+ are allowed/],
  ] as const) {
    const run = newRun();
    writeFileSync(notePath(run), content);
    assert.throws(() => readRunNote(run), problem);
    assert.throws(() => changeRunNote(run, { text: 'mine' }), problem);
    assert.equal(readFileSync(notePath(run), 'utf8'), content);
  }
  const run = newRun();
  symlinkSync(outside, notePath(run));
  assert.throws(() => readRunNote(run), /is a symbolic link/);
  assert.throws(() => changeRunNote(run, { text: 'mine' }), /is a symbolic link/);
  assert.match(readFileSync(outside, 'utf8'), /secret/);
});
