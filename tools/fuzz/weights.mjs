/**
 * Mutates weight files and reads them (src/testing/fuzz-weights.ts): `node tools/fuzz/weights.mjs [count] [seed]`. Reading
 * a file must yield tensors or throw a CheckpointError. The first 20 files for which it does anything else are kept in the
 * system's temporary folder as failure-SEED-N, and the exit code is 1.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { fuzzWeights } from '../../dist/testing/fuzz-weights.js';

const count = Number(process.argv[2] ?? 100_000);
const seed = Number(process.argv[3] ?? 1);
const fixtures = fileURLToPath(new URL('../../test/fixtures/weights/', import.meta.url));
const sources = readdirSync(fixtures)
  .filter((name) => /\.(pth|safetensors)$/.test(name))
  .map((name) => path.join(fixtures, name));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-fuzz-'));
let kept = 0;
const start = performance.now();
const result = await fuzzWeights({
  sources,
  count,
  seed,
  scratch: path.join(folder, 'mutated'),
  onFailure(bytes, error) {
    if (++kept > 20) return;
    const file = path.join(os.tmpdir(), `failure-${seed}-${kept}`);
    writeFileSync(file, bytes);
    console.log(file, error);
  },
});
rmSync(folder, { recursive: true });
const seconds = (performance.now() - start) / 1000;
for (const [reason, times] of [...result.reasons].sort((a, b) => b[1] - a[1]).slice(0, 25))
  console.log(`${times}\t${reason}`);
const { read, refused, failures, slowestMs, peakMiB } = result;
console.log(
  `${count} files from ${sources.length} sources, seed ${seed}: ${read} read, ${refused} refused (${result.reasons.size} reasons), ` +
    `${failures} failures; ${seconds.toFixed(0)} s, slowest ${slowestMs.toFixed(0)} ms, at most ${peakMiB.toFixed(0)} MiB`,
);
process.exitCode = failures === 0 ? 0 : 1;
