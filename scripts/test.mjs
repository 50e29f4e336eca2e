/**
 * Runs the compiled tests with Node's test runner: `node scripts/test.mjs` runs all, and with parts of file names
 * (`node scripts/test.mjs knn safetensors`) some. Arguments that start with -- are passed to the runner.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { packageRoot } from './find-libtorch.mjs';

const dist = path.join(packageRoot, 'dist');
const args = process.argv.slice(2);
const filters = args.filter((arg) => !arg.startsWith('--'));
const options = args.filter((arg) => arg.startsWith('--'));

/** Test files in dist whose source still exists; those of removed sources are deleted. */
function testFiles() {
  if (!existsSync(dist)) return [];
  const files = [];
  for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.test.js')) continue;
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    const source = path.join(packageRoot, 'src', path.relative(dist, file)).replace(/\.js$/, '.ts');
    if (existsSync(source)) files.push(file);
    else rmSync(file);
  }
  return files.sort();
}

const all = testFiles();
const chosen =
  filters.length === 0
    ? all
    : all.filter((file) => filters.some((part) => path.relative(dist, file).includes(part)));
if (chosen.length === 0) {
  console.error(
    `No test matches ${filters.join(', ') || 'anything'} in ${dist} (${all.length} test files; built?)`,
  );
  process.exit(2);
}

// Node 20's runner doesn't accept globs, so the files are listed. libtorch already uses every core: test files that run in
// parallel on a small machine only slow each other down.
const concurrency = Math.max(1, Math.floor(os.availableParallelism() / 4));
const result = spawnSync(
  process.execPath,
  ['--expose-gc', '--test', `--test-concurrency=${concurrency}`, ...options, ...chosen],
  { cwd: packageRoot, stdio: 'inherit' },
);
process.exit(result.status ?? 1);
