/**
 * How long installing takes, and how large it is: the tarballs of `npm run package` in an empty folder, libtorch, and the first
 * training on 60 images; sharp and onnxruntime-node beside it. Needs a network.
 *
 *   node bench/install.mjs [--libtorch FOLDER]     with FOLDER as LIBTORCH, in place of downloading it
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { packMain, packPlatform } from '../scripts/package.mjs';
import { makeImageFolder } from '../dist/testing/image-folder.js';

const { values } = parseArgs({ options: { libtorch: { type: 'string' } } });
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-bench-install-'));
const at = (...parts) => path.join(folder, ...parts);

function bytesIn(place) {
  let bytes = 0;
  for (const entry of readdirSync(place, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) bytes += statSync(path.join(entry.parentPath ?? entry.path, entry.name)).size;
  return bytes;
}

const seconds = (start) => (performance.now() - start) / 1000;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

/** npm install into an empty project with an empty cache. */
function install(name, packages) {
  const project = at(name);
  mkdirSync(project);
  writeFileSync(path.join(project, 'package.json'), '{ "private": true }');
  const start = performance.now();
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--cache', at(`${name}-cache`), ...packages], {
    cwd: project,
    stdio: 'ignore',
    // without CUDA's half gigabyte, which its script would get from another host
    env: { ONNXRUNTIME_NODE_INSTALL: 'skip', ...process.env },
  });
  const time = seconds(start);
  const down = bytesIn(at(`${name}-cache`));
  const unpacked = bytesIn(path.join(project, 'node_modules'));
  console.log(
    `npm install ${name}: ${time.toFixed(1)} s, ${megabytes(down)} in npm's cache, ${megabytes(unpacked)} installed`,
  );
  return project;
}

try {
  const packed = [packMain(at('tarballs')), packPlatform(at('tarballs'))];
  for (const { file, bytes, unpacked } of packed)
    console.log(`${path.basename(file)}: ${megabytes(bytes)}, ${megabytes(unpacked)} unpacked`);
  const project = install(
    'dino-ts',
    packed.map(({ file }) => file),
  );
  install('sharp', ['sharp']);
  install('onnxruntime-node', ['onnxruntime-node']);

  await makeImageFolder(path.join(project, 'photos'), { classes: 3, perClass: 20 });
  const env = {
    ...process.env,
    DINO_CACHE: at('cache'),
    ...(values.libtorch === undefined ? {} : { LIBTORCH: path.resolve(values.libtorch) }),
  };
  for (const args of [['setup'], ['train', 'photos', '--output', 'first'], ['--version']]) {
    const start = performance.now();
    const { status, stderr } = spawnSync('npx', ['dino', ...args], { cwd: project, env, encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    console.log(`npx dino ${args.join(' ')}: ${seconds(start).toFixed(1)} s`);
    if (args[0] === 'setup' && values.libtorch === undefined)
      console.log(`  libtorch: ${megabytes(bytesIn(at('cache')))} in the cache folder`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
