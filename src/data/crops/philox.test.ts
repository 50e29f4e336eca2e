/** Known answers from Random123's kat_vectors, and the properties that the loaders rely on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { epochPermutation, philox4x32, PhiloxStream, Purpose } from './philox.js';

const words = (text: string) => text.split(' ').map((word) => parseInt(word, 16));

test('Philox4x32-10 has the known answers of Random123', () => {
  const vectors = [
    ['00000000 00000000 00000000 00000000', '00000000 00000000', '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    ['ffffffff ffffffff ffffffff ffffffff', 'ffffffff ffffffff', '408f276d 41c83b0e a20bc7c6 6d5451fd'],
    ['243f6a88 85a308d3 13198a2e 03707344', 'a4093822 299f31d0', 'd16cfe09 94fdcceb 5001e420 24126ea1'],
  ];
  for (const [counter, key, expected] of vectors) {
    const out = philox4x32(words(counter!), words(key!), new Uint32Array(4));
    assert.deepEqual([...out], words(expected!));
  }
});

test('a stream is a function of its keys, and depends on each of them', () => {
  const take = (...keys: ConstructorParameters<typeof PhiloxStream>) => {
    const stream = new PhiloxStream(...keys);
    return Array.from({ length: 9 }, () => stream.next()).join();
  };
  const base = take(5, Purpose.augmentation, 1, 2, 3);
  assert.equal(take(5, Purpose.augmentation, 1, 2, 3), base);
  const others = [
    take(6, Purpose.augmentation, 1, 2, 3),
    take(5 + 2 ** 32, Purpose.augmentation, 1, 2, 3),
    take(5, Purpose.replacement, 1, 2, 3),
    take(5, Purpose.augmentation, 2, 2, 3),
    take(5, Purpose.augmentation, 1, 3, 3),
    take(5, Purpose.augmentation, 1, 2, 4),
  ];
  assert.equal(new Set([base, ...others]).size, 7);
});

test('integers are uniform and stay below their count', () => {
  const stream = new PhiloxStream(1, Purpose.augmentation, 0);
  const counts = new Array<number>(7).fill(0);
  for (let i = 0; i < 70_000; i++) counts[stream.integer(7)]!++;
  // standard deviation of a count is 93
  for (const count of counts) assert.ok(Math.abs(count - 10_000) < 450, `${counts.join()}`);
  for (let i = 0; i < 100; i++) assert.equal(stream.integer(1), 0);
});

test('an epoch visits every image once, in an order of its own', () => {
  const first = epochPermutation(1000, 3, 0);
  assert.deepEqual(
    [...first].sort((a, b) => a - b),
    Array.from({ length: 1000 }, (_, i) => i),
  );
  assert.deepEqual(epochPermutation(1000, 3, 0), first);
  assert.notDeepEqual(epochPermutation(1000, 3, 1), first);
  assert.notDeepEqual(epochPermutation(1000, 4, 0), first);
  // the position of image 0 over many epochs is uniform
  const places = Array.from({ length: 2000 }, (_, epoch) => epochPermutation(4, 0, epoch).indexOf(0));
  for (let place = 0; place < 4; place++) {
    const count = places.filter((value) => value === place).length;
    assert.ok(Math.abs(count - 500) < 100, `place ${place}: ${count}`);
  }
});
