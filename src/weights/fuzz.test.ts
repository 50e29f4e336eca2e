import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { fuzzWeights } from '../testing/fuzz-weights.js';

test('2,000 mutated files of weights give tensors or a CheckpointError', async () => {
  const fixtures = fileURLToPath(new URL('../../test/fixtures/weights/', import.meta.url));
  const sources = readdirSync(fixtures)
    .filter((name) => /\.(pth|safetensors)$/.test(name))
    .sort()
    .map((name) => path.join(fixtures, name));
  assert.ok(sources.length >= 5);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-fuzz-'));
  const errors: unknown[] = [];
  const before = process.memoryUsage.rss() / 2 ** 20;
  try {
    const result = await fuzzWeights({
      sources,
      count: 2000,
      seed: 20260728,
      scratch: path.join(folder, 'mutated'),
      onFailure: (_, error) => errors.push(error),
    });
    assert.deepEqual(errors, []);
    // mutations that only ever broke the outermost check would test nothing
    assert.ok(result.read > 50 && result.refused > 1000 && result.reasons.size > 100, JSON.stringify(result));
    assert.ok(result.slowestMs < 10_000, `the slowest file took ${result.slowestMs} ms`);
    assert.ok(result.peakMiB - before < 1024, `${result.peakMiB} MiB`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
