/** The fastest of a few alternatives. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Race } from './race.js';

test('the best time of each counts, and within 3% the earlier one is preferred', () => {
  const race = new Race(['exact', 'rough']);
  race.add('exact', 3);
  race.add('rough', 1);
  assert.deepEqual([race.winner, race.isFastest], ['rough', true]);
  race.add('exact', 1.02);
  race.add('exact', 2); // a slower turn changes nothing
  assert.equal(race.seconds('exact'), 1.02);
  assert.deepEqual([race.winner, race.isFastest], ['exact', false]);
  race.add('rough', 0.98);
  assert.deepEqual([race.winner, race.isFastest], ['rough', true]);
});

test('more rounds are wanted while the two fastest are within 10% of each other', () => {
  const race = new Race(['a', 'b', 'c']);
  race.add('a', 1);
  assert.equal(race.rounds, 3);
  race.add('b', 1.09);
  assert.equal(race.rounds, 8);
  race.add('a', 0.9);
  assert.equal(race.rounds, 3);
  race.add('c', 0.95);
  assert.equal(race.rounds, 8);
});

test('one alternative wins, none is an error', () => {
  const race = new Race(['only']);
  race.add('only', 5);
  assert.deepEqual([race.winner, race.rounds], ['only', 3]);
  assert.throws(() => new Race([]).winner, RangeError);
});
