/** The batch norm over several processes, in one: its arguments. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import { ones, ops, ProcessGroup, randn, Store, syncBatchNorm, zeros } from './index.js';

it('takes one weight and one bias for each channel, and no fewer', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-sync-'));
  const store = Store.file(path.join(folder, 'store'), 1);
  const place = { rank: 0, size: 1, address: '127.0.0.1', timeoutMs: 20_000 };
  const group = await ProcessGroup.connect(store, place);
  const options = { runningMean: null, runningVar: null, momentum: 0.1, eps: 1e-5 };
  const x = randn([8, 4096]);
  const off = syncBatchNorm(group, x, ones([4096]), zeros([4096]), options)
    .sub(ops.batchNorm(x, null, null, null, null, true, 0.1, 1e-5, false))
    .abs();
  assert.ok(off.max().item() < 1e-5);
  for (const [weight, bias] of [
    [ones([4]), zeros([4096])],
    [ones([4096]), zeros([4])],
    [ones([64, 64]), zeros([4096])],
  ] as const)
    assert.throws(() => syncBatchNorm(group, x, weight, bias, options), /shape of its weight/);
  rmSync(folder, { recursive: true });
});
