/**
 * Resuming, and loading weights, to the bit: for each backbone, optimizer and precision, at each level of instructions that
 * this machine has. At each level every backbone meets one optimizer and precision, and other ones at the next;
 * DINO_TEST_LEVELS=1 combines all with all.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { makeImageFolder } from '../testing/image-folder.js';
import { cpuCapability } from '../torch/index.js';
import { native } from '../torch/native.js';

const child = fileURLToPath(new URL('../testing/resume-child.js', import.meta.url));
const environment = { ...process.env };
delete environment['MKL_CBWR']; // set by libtorch in this process
const cases = process.env['DINO_TEST_LEVELS'] === '1' ? 'all' : 'some';

/** Names of the level in ATen, oneDNN, MKL and our own loops; those below the machine's own can always be asked for. */
const LEVELS: Record<string, Record<string, string>> = {
  "the machine's own level": {},
  ...(cpuCapability() === 'AVX512'
    ? {
        ...(native.cpuFeatures()['amx_bf16'] === true
          ? { 'AVX-512 with bfloat16': { ONEDNN_MAX_CPU_ISA: 'AVX512_CORE_BF16' } }
          : {}),
        // without instructions for bfloat16
        'AVX-512': { ONEDNN_MAX_CPU_ISA: 'AVX512_CORE' },
        AVX2: {
          ATEN_CPU_CAPABILITY: 'avx2',
          ONEDNN_MAX_CPU_ISA: 'AVX2',
          MKL_ENABLE_INSTRUCTIONS: 'AVX2',
          DINO_VECTORS: 'v3',
        },
      }
    : {}),
};

for (const [i, [level, variables]] of Object.entries(LEVELS).entries()) {
  test(`a resumed run, and weights loaded twice, are the same to the bit at ${level}`, async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'dino-levels-'));
    try {
      await makeImageFolder(path.join(folder, 'images'), { classes: 2, perClass: 5 });
      const { stdout } = await promisify(execFile)(process.execPath, [child, folder, cases, String(i)], {
        env: { ...environment, ...variables },
      });
      assert.deepEqual(JSON.parse(stdout), []);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
