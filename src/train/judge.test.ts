import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fallsShortOf, Judge } from './judge.js';

const observeAll = (judge: Judge, scores: readonly number[]) =>
  scores.map((score, i) => judge.observe(100 * i, score));

describe('Judge', () => {
  it('calls each higher score the best, and the earliest of equal ones', () => {
    const judge = new Judge();
    assert.equal(judge.best, null);
    const seen = observeAll(judge, [0.2, 0.3, 0.3, 0.1, 0.4]);
    assert.deepEqual(
      seen.map(({ isBest }) => isBest),
      [true, true, false, false, true],
    );
    assert.deepEqual(judge.best, { step: 400, score: 0.4 });
  });

  it('keeps the first weights of a run that gets worse for its whole length, and says that it has stalled', () => {
    const judge = new Judge({ patience: 3 });
    const seen = observeAll(judge, [0.5, 0.4, 0.3, 0.2, 0.1]);
    assert.deepEqual(judge.best, { step: 0, score: 0.5 });
    assert.deepEqual(
      seen.map(({ stalled }) => stalled),
      [false, false, false, true, true],
    );
    assert.equal(judge.stoppedGettingBetter, true);
  });

  it('goes on when a stalled run gets better again', () => {
    const judge = new Judge({ patience: 2, leastGain: 0.05 });
    const seen = observeAll(judge, [0.5, 0.5, 0.5, 0.6]);
    assert.deepEqual(
      seen.map(({ stalled }) => stalled),
      [false, false, true, false],
    );
  });

  it('adds up small steps: they are no stall together, though each is less than a gain', () => {
    const judge = new Judge({ patience: 3, leastGain: 0.02 });
    const scores = Array.from({ length: 20 }, (_, i) => 0.1 + 0.01 * i);
    assert.ok(observeAll(judge, scores).every(({ isBest, stalled }) => isBest && !stalled));
    // too slow: five steps for a gain, more than its patience
    const slow = new Judge({ patience: 3, leastGain: 0.05 });
    assert.ok(observeAll(slow, scores).some(({ stalled }) => stalled));
  });

  it('does not take weights that may not be the best, but counts their gain', () => {
    const judge = new Judge({ patience: 2 });
    judge.observe(0, 0.5);
    assert.deepEqual(judge.observe(1, 0.6, false), { isBest: false, stalled: false });
    assert.deepEqual(judge.best, { step: 0, score: 0.5 });
    assert.deepEqual(judge.observe(2, 0.55, true), { isBest: true, stalled: false });
    assert.deepEqual(judge.best, { step: 2, score: 0.55 });
  });

  it('counts a score that is not a number as the worst', () => {
    const judge = new Judge({ patience: 2 });
    assert.deepEqual(judge.observe(0, NaN), { isBest: true, stalled: false });
    assert.deepEqual(judge.observe(1, 0.1), { isBest: true, stalled: false });
    assert.deepEqual(judge.observe(2, NaN), { isBest: false, stalled: false });
    assert.deepEqual(judge.observe(3, NaN), { isBest: false, stalled: true });
    assert.deepEqual(judge.best, { step: 1, score: 0.1 });
  });

  it('is the same whether it continues a run or was never stopped', () => {
    const scores = [0.1, 0.2, 0.25, 0.2, 0.22, 0.21, 0.2, 0.3];
    const whole = new Judge({ patience: 3 });
    const expected = observeAll(whole, scores);
    const again = new Judge({ patience: 3 });
    observeAll(again, scores.slice(0, 5));
    const rest = scores.slice(5).map((score, i) => again.observe(100 * (5 + i), score));
    assert.deepEqual(rest, expected.slice(5));
    assert.deepEqual(again.best, whole.best);
  });
});

describe('fallsShortOf', () => {
  it('names the lowest bar that a score misses', () => {
    const bars = { untrained: 0.2, pixels: 0.4 };
    assert.deepEqual(
      [0.1, 0.2, 0.3, 0.5, NaN].map((score) => fallsShortOf(score, bars)),
      ['untrained', 'untrained', 'pixels', null, 'untrained'],
    );
    // an untrained network may well be better than pixels
    assert.equal(fallsShortOf(0.3, { untrained: 0.2, pixels: 0.1 }), null);
  });
});
