import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatDuration, parseDuration } from './units.js';

test('durations are read as people write them, and nothing else is', () => {
  for (const [text, seconds] of [
    ['90s', 90],
    ['10m', 600],
    ['10 min', 600],
    ['2h', 7200],
    ['1h30m', 5400],
    ['1h 30m 5s', 5405],
    ['1.5h', 5400],
    ['0.5s', 0.5],
    ['overnight', 28_800],
    [' OVERNIGHT ', 28_800],
    ['0m', 0],
  ] as const)
    assert.equal(parseDuration(text), seconds, text);
  for (const text of ['', ' ', '10', '10x', 'h', 'm10', '30m1h', '-5m', '1e3s', '1h30', 'tonight', '10m10m'])
    assert.equal(parseDuration(text), null, text);
  for (const seconds of [1, 59, 61, 3600, 5400])
    assert.equal(parseDuration(formatDuration(seconds)), seconds);
});
