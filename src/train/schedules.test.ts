import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cosineSchedule } from '../optim/index.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { buildSchedules, extended } from './schedules.js';

const settings = { ...TINY_SETTINGS, epochs: 10, warmupEpochs: 2 };
const sizes = { batchSize: 256, stepsPerEpoch: 10 };
const longer = { ...settings, epochs: 20 };
const plain = buildSchedules(settings, sizes);
const fresh = buildSchedules(longer, sizes);
const NAMES = ['lr', 'weightDecay', 'momentum'] as const;

describe('schedules', () => {
  it('of a run that was not extended are those of the reference', () => {
    const expected = cosineSchedule({
      ...{ base: settings.lr, final: settings.minLr, epochs: 10, stepsPerEpoch: 10, warmupEpochs: 2 },
    });
    assert.deepEqual(plain.lr, expected);
    assert.equal(plain.teacherTemp.length, 100);
  });

  for (const [when, step] of [
    ['in the warm-up', 7],
    ['after it', 45],
    ['at the end', 100],
  ] as const)
    it(`extended ${when} go over to the longer ones without a jump`, () => {
      const all = buildSchedules(longer, sizes, [{ step, epochs: 10 }]);
      for (const name of NAMES) {
        const curve = all[name];
        assert.equal(curve.length, 200);
        assert.deepEqual(curve.slice(0, step), plain[name].slice(0, step), 'what was done stays');
        assert.deepEqual(
          curve.slice(step + 20),
          fresh[name].slice(step + 20),
          'after two epochs it is the longer one',
        );
        const last = plain[name][Math.min(step, 99)]!;
        assert.ok(Math.abs(curve[step]! - last) < 1e-12, 'it begins where it was');
        const [low, high] = [
          Math.min(...plain[name], ...fresh[name]),
          Math.max(...plain[name], ...fresh[name]),
        ];
        assert.ok(curve.every((value) => value >= low && value <= high));
        // no step is larger than the warm-up's, or a tenth of the range
        const steps = [...curve].slice(1).map((value, i) => Math.abs(value - curve[i]!));
        assert.ok(Math.max(...steps) <= (high - low) / 10, `${name} jumps`);
      }
      assert.equal(all.teacherTemp.length, 200);
      assert.equal(all.teacherTemp[199], settings.teacherTemp);
    });

  it('extended in the last step, by one, or twice', () => {
    const one = buildSchedules({ ...settings, epochs: 11 }, sizes, [{ step: 100, epochs: 10 }]);
    assert.equal(one.lr.length, 110);
    assert.ok(one.lr.every(Number.isFinite));
    const single = buildSchedules({ ...settings, epochs: 11 }, { ...sizes, stepsPerEpoch: 1 }, [
      { step: 10, epochs: 10 },
    ]);
    assert.ok(single.lr.every(Number.isFinite));
    const twice = buildSchedules({ ...settings, epochs: 30 }, sizes, [
      { step: 100, epochs: 10 },
      { step: 110, epochs: 20 },
    ]);
    const first = buildSchedules(longer, sizes, [{ step: 100, epochs: 10 }]);
    for (const name of NAMES) assert.deepEqual(twice[name].slice(0, 111), first[name].slice(0, 111));
  });

  it('remember what was planned, without extensions that no step has followed', () => {
    assert.deepEqual(extended([], { epochs: 10 }, 45), [{ step: 45, epochs: 10 }]);
    assert.deepEqual(extended([{ step: 45, epochs: 10 }], { epochs: 20 }, 45), [{ step: 45, epochs: 10 }]);
    assert.deepEqual(extended([{ step: 45, epochs: 10 }], { epochs: 20 }, 30), [{ step: 30, epochs: 10 }]);
    assert.deepEqual(extended([{ step: 45, epochs: 10 }], { epochs: 20 }, 60), [
      { step: 45, epochs: 10 },
      { step: 60, epochs: 20 },
    ]);
    assert.deepEqual(extended([], { epochs: 10 }, 0), []);
  });
});
