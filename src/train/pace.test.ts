import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { stepsInTime, nextLook, Pace } from './pace.js';
import { batchFor, planSteps } from './plan-steps.js';
import { buildSchedules, extended } from './schedules.js';
import type { Extension } from '../run/run-folder.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';

/** A run whose `n`th step takes `secondsOf(n)`, as train() would make it. */
function simulate(
  seconds: number,
  planned: number,
  secondsOf: (step: number, at: number) => number,
  { used = 0, startUp = 2, first = 0, closing = 0.5 } = {},
): { total: number; took: number; changes: number[]; extensions: Extension[] } {
  let now = 1000 * startUp;
  const pace = new Pace({ seconds, used, startedAt: 0, step: first, now: () => now });
  let [step, total] = [first, planned];
  const changes: number[] = [];
  let extensions: Extension[] = [];
  pace.start(total);
  while (step < total) {
    now += 1000 * secondsOf(step, now / 1000);
    step++;
    if (step < total && pace.isDue(step)) {
      const wanted = pace.length(step, total);
      if (wanted !== total) {
        changes.push(step);
        extensions = extended(extensions, { epochs: 1, steps: total }, step);
      }
      total = wanted;
      pace.looked(step, total);
    }
  }
  return { total, took: now / 1000 + used + closing, changes, extensions };
}

const near = (took: number, seconds: number): void =>
  assert.ok(Math.abs(took / seconds - 1) < 0.05, `${took} s of ${seconds} s`);

describe('what fits in a time', () => {
  it('is what is left after start-up and the last checkpoint', () => {
    assert.equal(stepsInTime(10, 0.1), 100);
    assert.equal(stepsInTime(-3, 0.1), 0);
    const trial = { secondsPerStep: 0.5, startSeconds: 4, checkpointSeconds: 1 };
    assert.equal(planSteps(105, trial), 200);
    assert.equal(planSteps(5.4, trial), 0);
  });

  it('takes a smaller batch when few steps fit, never below 8', () => {
    assert.equal(batchFor(32, 600, 0.2), 32);
    assert.equal(batchFor(32, 30, 0.2), 16);
    assert.equal(batchFor(32, 1, 0.2), 8);
    assert.equal(batchFor(5, 1, 0.2), 5);
  });
});

describe('the pace of a run', () => {
  it('is looked at early, every tenth then, and ever more often at the end', () => {
    const looks: number[] = [];
    for (let step = 0; step < 1000;) looks.push((step = nextLook(0, step, 1000)));
    assert.deepEqual(looks.slice(0, 4), [20, 40, 80, 160]);
    assert.ok(looks.length < 60, String(looks.length));
    assert.equal(looks.at(-1), 1000);
    assert.ok(looks.every((step, i) => step - (looks[i - 1] ?? 0) <= 100));
    assert.equal(nextLook(0, 0, 1), 1);
  });

  for (const [what, planned, secondsOf] of [
    ['as planned', 5970, () => 0.1],
    ['planned three times too long', 18_000, () => 0.1],
    ['planned three times too short', 2000, () => 0.1],
    ['half as fast from the middle on', 5970, (_: number, at: number) => (at < 300 ? 0.1 : 0.2)],
    ['twice as fast from the middle on', 5970, (_: number, at: number) => (at < 300 ? 0.1 : 0.05)],
    ['half as fast near its end', 5970, (_: number, at: number) => (at < 550 ? 0.1 : 0.2)],
    ['slow in its first steps', 5970, (step: number) => (step < 5 ? 4 : 0.1)],
    ['by turns fast and slow', 5970, (step: number) => (step % 200 < 100 ? 0.05 : 0.15)],
    ['of long steps', 30, () => 20],
  ] as const)
    it(`brings a run to its end on time: ${what}`, () => {
      const { took, total, extensions } = simulate(600, planned, secondsOf);
      near(took, 600);
      const sizes = { batchSize: 256, stepsPerEpoch: 1000 };
      const settings = { ...TINY_SETTINGS, steps: total, epochs: 100, warmupEpochs: 0.01 };
      const { lr } = buildSchedules(settings, sizes, extensions);
      assert.equal(lr.length, total);
      assert.ok(lr.at(-1)! < 0.05 * settings.lr, 'the learning rate is annealed');
    });

  it('leaves a run alone that is on time', () => {
    const { changes } = simulate(600, 5970, () => 0.1);
    assert.ok(
      changes.every((step) => step > 5500),
      String(changes),
    );
  });

  it('has the time that is left after earlier sessions', () => {
    const { took, total } = simulate(600, 5970, () => 0.1, { used: 400, first: 4000 });
    near(took, 600);
    assert.ok(Math.abs(total - 5970) < 150, String(total));
  });

  it('ends a run whose time is already used', () => {
    const { total } = simulate(600, 5970, () => 0.1, { used: 700, first: 4000 });
    assert.ok(total < 4100, String(total));
  });

  it('leaves time for the last evaluation and checkpoint', () => {
    let now = 0;
    const pace = new Pace({ seconds: 100, used: 0, startedAt: 0, step: 0, now: () => now });
    for (let step = 1; step < 50; step++)
      pace.observe({ type: 'checkpoint', step, folder: '', copyMs: 1000, writeMs: 4000 });
    pace.evaluated('knn', 4000);
    pace.evaluated('judge', 6000);
    assert.ok(Math.abs(pace.left - 85) < 1e-9);
    pace.start(1000);
    now = 10_000;
    assert.equal(pace.length(100, 1000), 100 + 750);
  });
});
