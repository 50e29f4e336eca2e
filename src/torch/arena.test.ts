/** CPU tensors of 4 KiB and more are allocated from an arena that keeps its pages: native/torch/allocator.cc. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arange, full, scope, type Tensor } from './index.js';

const MIB = 2 ** 20;

/** Sizes in MiB, small enough for any machine, the first one too small for the arena. */
const SIZES = [0.001, 0.004, 0.005, 0.03, 0.5, 1, 1.5, 3, 7, 16, 33];

test('tensors allocated and freed in any order do not overlap', () => {
  let seed = 1;
  const random = (below: number): number => (seed = (seed * 48271) % 2147483647) % below;
  const held: { value: number; tensor: Tensor }[] = [];
  for (let i = 0; i < 400; i++) {
    if (held.length > 8 || (held.length > 0 && random(2) === 0)) {
      const [{ value, tensor } = assert.fail()] = held.splice(random(held.length), 1);
      assert.equal(tensor.min().item(), value);
      assert.equal(tensor.max().item(), value);
      tensor.dispose();
    } else {
      const elements = Math.floor(((SIZES[random(SIZES.length)] as number) * MIB) / 4) + random(100);
      held.push({ value: i, tensor: full([elements], i) });
    }
  }
  for (const { value, tensor } of held) {
    assert.equal(tensor.min().item(), value);
    assert.equal(tensor.max().item(), value);
    tensor.dispose();
  }
});

test('freed memory is reused, without the system clearing its pages again', () => {
  const work = (): void => {
    scope(() => {
      const x = arange(0, 6 * MIB); // 24 MiB
      for (let i = 0; i < 4; i++) x.add(i).mul(2);
    });
  };
  work();
  const before = process.resourceUsage().minorPageFault;
  for (let i = 0; i < 10; i++) work(); // 2 GiB in total
  const faults = process.resourceUsage().minorPageFault - before;
  assert.ok(faults < 5000, `${faults} page faults; 2 GiB of fresh pages would be 500,000`);
});
