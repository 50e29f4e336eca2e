/**
 * Runs the compiled tests with Node's test runner: `node scripts/test.mjs` runs all; with parts of file names (`node
 * scripts/test.mjs knn safetensors`) it runs only those, and with --fast (`npm test -- --fast`) those that take about a minute
 * together. Other arguments that start with -- are passed to the runner.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { packageRoot } from './find-libtorch.mjs';

const dist = path.join(packageRoot, 'dist');
const args = process.argv.slice(2);
const filters = args.filter((arg) => !arg.startsWith('--'));
const options = args.filter((arg) => arg.startsWith('--') && arg !== '--fast');
const isFast = args.includes('--fast');

/** Skipped by --fast: tests that start programs, browsers or training, and files that take more than a few seconds. */
const SLOW = new RegExp(
  [
    '^(cli|demo|doctor|export|processes|studio|train)/',
    '^test/(examples|import|install|native-levels|public-arguments)',
    '^data/(load/loaders|read/decoded-cache)',
    '^dino/(collapse-monitor|data-parallel|reference)',
    '^eval/(shared-batches|video-segmentation)',
    '^explain/video',
    '^explore/(explore|fuzz)',
    '^models/(convolutional|vision-transformer)',
    '^torch/(arena|distributed|products)',
    '^(models|weights)/dinov2',
    '^weights/(fuzz|other-models|round-trip)',
    '^plain/shell',
  ].join('|'),
);

/** Test files in dist whose source still exists; those of removed sources are deleted. */
function testFiles() {
  if (!existsSync(dist)) return [];
  const files = [];
  for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.test.js')) continue;
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    const name = path.relative(dist, file).replace(/\.js$/, '.ts');
    const source = name.startsWith(`test${path.sep}`) ? name : path.join('src', name);
    if (existsSync(path.join(packageRoot, source))) files.push(file);
    else rmSync(file);
  }
  return files.sort();
}

const all = testFiles();
const nameOf = (file) => path.relative(dist, file).split(path.sep).join('/');
const named =
  filters.length === 0 ? all : all.filter((file) => filters.some((part) => nameOf(file).includes(part)));
const chosen = isFast ? named.filter((file) => !SLOW.test(nameOf(file))) : named;
if (chosen.length < named.length)
  console.error(`--fast skips ${named.length - chosen.length} of ${named.length} test files`);
if (chosen.length === 0) {
  console.error(
    `No test matches ${filters.join(', ') || 'anything'} in ${dist} (${all.length} test files; built?)`,
  );
  process.exit(2);
}

// Node 20's runner doesn't accept globs, so the files are listed. Most tests wait for processes, browsers, disks and one thread of
// Node: three files at a time keep two cores busy 98% of the time.
const cores = os.availableParallelism();
const concurrency = Math.min(cores + 1, Math.max(3, Math.floor(cores / 4)));
const result = spawnSync(
  process.execPath,
  ['--expose-gc', '--test', `--test-concurrency=${concurrency}`, ...options, ...chosen],
  { cwd: packageRoot, stdio: 'inherit' },
);
process.exit(result.status ?? 1);
