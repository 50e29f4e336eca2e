/** The number of loader workers on simulated machines: what is found, and in how many steps. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WorkerCount } from './worker-count.js';

interface Machine {
  /** Time of a step alone, and time one worker takes to make a batch, milliseconds. */
  workMs: number;
  batchMs: number;
  /** By how much each worker slows a step down, where they compete for cores. */
  slowdown?: number;
}

/** Simulates training steps: the waiting time is the time by which a batch takes longer than a step. */
function run(count: WorkerCount, machine: Machine, steps: number, noise = 0): number[] {
  const counts: number[] = [];
  let state = 1;
  for (let i = 0; i < steps; i++) {
    state = (state * 48271) % 2147483647;
    const factor = 1 + noise * (state / 2147483647 - 0.5);
    const workMs = factor * machine.workMs * (1 + (machine.slowdown ?? 0) * count.count);
    const waitMs = Math.max(0, machine.batchMs / count.count - workMs);
    count.observe({ waitMs, workMs });
    counts.push(count.count);
  }
  return counts;
}

test('it stays at one worker where nothing waits', () => {
  const count = new WorkerCount(8);
  const counts = run(count, { workMs: 500, batchMs: 300 }, 200, 0.1);
  assert.ok(counts.every((value) => value === 1));
  assert.equal(count.settled, 0);
});

test('it grows to what the training needs, and no further', () => {
  for (const [batchMs, needed] of [
    [900, 2],
    [1400, 3],
    [3900, 8],
    [7900, 16],
  ] as const) {
    const count = new WorkerCount(32);
    const counts = run(count, { workMs: 500, batchMs }, 200, 0.02);
    assert.ok(count.count >= needed && count.count <= needed + 1, `${count.count}, ${needed} needed`);
    assert.ok(count.settled! < 0.01);
    assert.deepEqual(counts.slice(80), counts.slice(80).fill(count.count), 'settled within 80 steps');
  }
});

test('it looks at seconds, not at a few short steps', () => {
  const count = new WorkerCount(8);
  run(count, { workMs: 20, batchMs: 60 }, 30);
  assert.equal(count.count, 1);
  run(count, { workMs: 20, batchMs: 60 }, 400);
  assert.equal(count.count, 3);
});

test('it removes workers that do not make steps faster, and reports the remaining waiting time', () => {
  // training needs both cores itself: what a worker gains, the step loses
  const count = new WorkerCount(2);
  const counts = run(count, { workMs: 400, batchMs: 900, slowdown: 1 }, 300, 0.02);
  assert.equal(count.count, 1);
  assert.ok(counts.includes(2), 'it was tried');
  assert.ok(counts.filter((value) => value === 2).length <= 12, 'once');
  assert.ok(count.settled! > 0.05);
});

test('it never uses more workers than cores', () => {
  const count = new WorkerCount(4);
  assert.ok(Math.max(...run(count, { workMs: 100, batchMs: 5000 }, 500)) === 4);
  assert.ok(count.settled! > 0.9);
  const one = new WorkerCount(0);
  run(one, { workMs: 100, batchMs: 5000 }, 100);
  assert.equal(one.count, 1);
});

test('it looks again when waiting increases, for example when images get larger', () => {
  const count = new WorkerCount(8);
  run(count, { workMs: 500, batchMs: 900 }, 60);
  assert.equal(count.count, 2);
  run(count, { workMs: 500, batchMs: 1900 }, 100);
  assert.equal(count.count, 4);
  assert.ok(count.settled! < 0.01);
});

test('a single slow step does not count', () => {
  const count = new WorkerCount(8);
  for (let i = 0; i < 200; i++) count.observe({ waitMs: i % 10 === 0 ? 400 : 0, workMs: 300 });
  assert.equal(count.count, 1);
});
