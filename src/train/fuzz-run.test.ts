import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fuzzRun } from '../testing/fuzz-run.js';

// DINO_TEST_FUZZ=10000 is the full number; DINO_TEST_FUZZ_SEED tries others
const count = Number(process.env['DINO_TEST_FUZZ'] ?? 60);
const seed = Number(process.env['DINO_TEST_FUZZ_SEED'] ?? 20260729);

test(`${count} mutants of a run are read or refused: no crash, nothing outside is touched`, async (context) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-fuzz-run-'));
  mkdirSync(path.join(folder, 'scratch'));
  const failures: string[] = [];
  try {
    const result = await fuzzRun(folder, {
      ...{ count, seed },
      onFailure: (failure) => {
        failures.push(failure);
        context.diagnostic(failure);
      },
    });
    const reasons = [...result.reasons].sort((a, b) => b[1] - a[1]);
    context.diagnostic(JSON.stringify({ ...result, reasons: reasons.length }));
    if (process.env['DINO_TEST_FUZZ'] !== undefined)
      for (const [reason, times] of reasons) context.diagnostic(`${times} ${reason}`);
    assert.equal(failures.length, 0, failures.slice(0, 20).join('\n'));
    // changes that only ever broke the outermost check would test nothing
    assert.ok(
      result.read > count / 20 &&
        result.refused > count / 3 &&
        result.reasons.size > Math.min(count / 10, 40),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
