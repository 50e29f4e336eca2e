/** Tests the readers of a folder with mutants: DINO_TEST_FUZZ=10000 is the full number; DINO_TEST_FUZZ_SEED changes the seed. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { FolderFuzzOptions, FolderFuzzResult } from './fuzz-folder.js';

type Fuzz = (
  folder: string,
  options: Pick<FolderFuzzOptions, 'count' | 'seed' | 'onFailure'>,
) => Promise<FolderFuzzResult>;

/**
 * @param what - What is mutated, for the name of the test: "an index".
 * @param reasons - How many kinds of errors a long run must see.
 */
export function testMutants(what: string, fuzz: Fuzz, reasons: number): void {
  const count = Number(process.env['DINO_TEST_FUZZ'] ?? 90);
  const seed = Number(process.env['DINO_TEST_FUZZ_SEED'] ?? 20260729);
  test(`${count} mutants of ${what} are read or refused: no crash, and nothing outside is touched`, async (context) => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-fuzz-'));
    mkdirSync(path.join(folder, 'scratch'));
    const failures: string[] = [];
    try {
      const result = await fuzz(folder, {
        ...{ count, seed },
        onFailure: (failure) => {
          failures.push(failure);
          context.diagnostic(failure);
        },
      });
      const seen = [...result.reasons].sort((a, b) => b[1] - a[1]);
      context.diagnostic(JSON.stringify({ ...result, reasons: seen.length }));
      if (process.env['DINO_TEST_FUZZ'] !== undefined)
        for (const [reason, times] of seen) context.diagnostic(`${times} ${reason}`);
      assert.equal(failures.length, 0, failures.slice(0, 20).join('\n'));
      // if changes only failed the outermost check, this would test nothing
      assert.ok(
        result.read > count / 20 && result.refused > count / 3 && seen.length > Math.min(count / 10, reasons),
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}
