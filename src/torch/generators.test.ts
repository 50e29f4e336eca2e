/** Generators that replace the default ones: withGenerators() draws from them and from no others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import {
  defaultGenerator,
  Generator,
  manualSeed,
  ops,
  rand,
  randn,
  scope,
  withGenerators,
  zeros,
} from './index.js';

/** Operators that accept a generator, and some that don't. */
const draw = (): number[] =>
  scope(() => [
    ...rand([3]).toArray(),
    ...randn([3]).toArray(),
    ...zeros([3]).uniform_(0, 1).toArray(),
    ...zeros([3]).normal_(0, 1).toArray(),
    ...ops.dropout(zeros([8]).add(1), 0.5, true).toArray(),
    ...ops.bernoulli(zeros([8]).add(0.5)).toArray(),
    ...ops.multinomial(zeros([4]).add(1), 4).toArray(),
    ...ops.randLike(zeros([2])).toArray(),
  ]);

const drawn = (seed: number): number[] => {
  manualSeed(seed);
  return draw();
};

test('every operator draws from them as from the default ones, whose state does not change', () => {
  const [first, second] = [drawn(1), drawn(2)];
  const [one, two] = [new Generator().manualSeed(1), new Generator().manualSeed(2)];
  manualSeed(3);
  const before = scope(() => defaultGenerator().getState().toArray());
  assert.deepEqual(withGenerators([one], draw), first);
  assert.deepEqual(
    scope(() => defaultGenerator().getState().toArray()),
    before,
  );
  one.manualSeed(1);
  withGenerators([one], () => {
    assert.deepEqual(withGenerators([two], draw), second);
    assert.deepEqual(withGenerators([], draw), first); // an empty list replaces none
    manualSeed(2);
    assert.deepEqual(draw(), second);
  });
  assert.deepEqual(draw(), drawn(3));
  assert.throws(() => withGenerators([one], () => Promise.resolve()), /synchronous/);
  assert.deepEqual(withGenerators([one.manualSeed(1)], draw), first, 'restored after an error');
});

test('a thread that draws from the default ones does not disturb them', async () => {
  const expected = drawn(7);
  const flags = new Int32Array(new SharedArrayBuffer(8)); // [it is drawing, it must end]
  const worker = new Worker(
    `const { workerData: { index, flags } } = require('node:worker_threads');
     import(index).then(({ rand }) => {
       while (Atomics.load(flags, 1) === 0) {
         rand([100]).dispose();
         Atomics.store(flags, 0, 1);
       }
     });`,
    { eval: true, workerData: { index: new URL('./index.js', import.meta.url).href, flags } },
  );
  const ended = new Promise((resolve) => worker.on('exit', resolve));
  while (Atomics.load(flags, 0) === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  try {
    const generator = new Generator();
    for (let i = 0; i < 500; i++)
      assert.deepEqual(withGenerators([generator.manualSeed(7)], draw), expected, `round ${i}`);
  } finally {
    Atomics.store(flags, 1, 1);
    await ended;
  }
});
