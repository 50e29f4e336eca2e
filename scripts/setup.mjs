/**
 * Set-up: everything between a fresh clone and a working program. Run by `npm run setup`, `npm run demo` and
 * `npm test`; it does only what is still missing, says what it does, and afterwards nothing uses the network. It uses only
 * built-in modules, because it runs before anything is installed.
 *
 *   node scripts/setup.mjs                 all steps
 *   node scripts/setup.mjs npm native      only these (npm, libtorch, native, typescript, web)
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { buildNative, findCompiler, SetupError } from './build-native.mjs';
import { fetchLibtorch, progressLines } from './fetch-libtorch.mjs';
import { findLibtorch, packageRoot, TORCH_VERSION } from './find-libtorch.mjs';
import { lock } from './lock.mjs';

const say = (text) => console.log(`[setup] ${text}`);
const inRoot = (...parts) => path.join(packageRoot, ...parts);

// ---------------------------------------------------------------------------------------------- npm packages

/** Names in package-lock.json that node_modules lacks or has in a different version. */
function npmDifferences() {
  const lock = JSON.parse(readFileSync(inRoot('package-lock.json'), 'utf8')).packages;
  const installedFile = inRoot('node_modules', '.package-lock.json');
  if (!existsSync(installedFile)) return ['node_modules'];
  const installed = JSON.parse(readFileSync(installedFile, 'utf8')).packages;
  const differences = [];
  for (const [name, wanted] of Object.entries(lock)) {
    if (name === '' || wanted.link) continue;
    const have = installed[name];
    // Optional packages for other platforms are not installed.
    if (have === undefined ? !wanted.optional : have.version !== wanted.version) differences.push(name);
    else if (have !== undefined && !existsSync(inRoot(name))) differences.push(name);
  }
  return differences;
}

function stepNpm() {
  const differences = npmDifferences();
  if (differences.length === 0) return say('npm packages: up to date');
  say(`npm packages: installing (${differences.length} missing or changed) with npm ci`);
  const args = ['ci', '--no-audit', '--no-fund'];
  // Under `npm run` the npm that started us is the one to use; it may not be on PATH.
  const [command, ...prefix] = process.env.npm_execpath?.endsWith('.js')
    ? [process.execPath, process.env.npm_execpath]
    : ['npm'];
  const result = spawnSync(command, [...prefix, ...args], {
    cwd: packageRoot,
    stdio: ['ignore', 'inherit', 'inherit'],
    // the CPU library is in the package; CUDA's would be half a gigabyte from another host
    env: { ONNXRUNTIME_NODE_INSTALL: 'skip', ...process.env },
  });
  if (result.status !== 0) {
    throw new SetupError('npm ci failed (see above). Is the network available, and is the folder writable?');
  }
}

// --------------------------------------------------------------------------------------------------- libtorch

async function stepLibtorch() {
  const wanted = { headers: true };
  let { libtorch, tried } = findLibtorch(process.env, wanted);
  if (libtorch === null) {
    if (process.env.LIBTORCH) {
      throw new SetupError(
        `LIBTORCH=${process.env.LIBTORCH} ${tried[0].problem}. Set it to the folder that contains lib/ and include/, ` +
          'or unset it.',
      );
    }
    for (const { source, path: where, problem } of tried) say(`libtorch: ${source} ${where} ${problem}`);
    await fetchLibtorch({ ...wanted, log: say, onProgress: progressLines(say) });
    ({ libtorch } = findLibtorch(process.env, wanted));
    if (libtorch === null) throw new SetupError('internal: libtorch was not found after fetching it');
  }
  say(`libtorch: ${libtorch.version} in ${libtorch.root} (${libtorch.source})`);
  if (libtorch.version !== TORCH_VERSION) {
    say(
      `libtorch: WARNING: made for ${TORCH_VERSION}; LIBTORCH is ${libtorch.version}, operators may differ`,
    );
  }
  return libtorch;
}

// ------------------------------------------------------------------------------------------ addons, TypeScript

async function stepNative() {
  const { libtorch } = findLibtorch(process.env, { headers: true });
  const results = await buildNative({ libtorch, log: say });
  for (const [name, result] of Object.entries(results)) {
    if (result === 'fresh') say(`native/${name}: up to date`);
    if (result === 'absent') say(`native/${name}: no sources`);
  }
}

function stepTypescript() {
  const tsc = inRoot('node_modules', 'typescript', 'bin', 'tsc');
  if (!existsSync(tsc)) {
    throw new SetupError('TypeScript is not installed: run node scripts/setup.mjs npm typescript');
  }
  const start = performance.now();
  // the tests of the public API import the compiled package, so they come last
  for (const project of ['.', 'test'].map((folder) => inRoot(folder))) {
    const result = spawnSync(process.execPath, [tsc, '-p', project], { stdio: 'inherit' });
    if (result.status !== 0) throw new SetupError('TypeScript: the build failed (see above)');
  }
  say(`TypeScript: compiled in ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

/** Files of src/ that run in pages too. */
const SHARED_SOURCES = /^src\/(plain\/[^/]+|errors)\.ts$/;

/** A hash of everything that the pages are built from: their sources, those shared with the library, and their packages. */
function webSources() {
  const hash = createHash('sha256');
  for (const folder of ['web', 'src']) {
    const names = readdirSync(inRoot(folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(packageRoot, path.join(entry.parentPath ?? entry.path, entry.name)))
      .filter((name) => folder === 'web' || SHARED_SOURCES.test(name.split(path.sep).join('/')));
    for (const name of names.sort()) hash.update(`${name}\0`).update(readFileSync(inRoot(name)));
  }
  return hash
    .update(readFileSync(inRoot('package-lock.json')))
    .update(`brotli ${BROTLI_QUALITY}`)
    .digest('hex');
}

/** Smaller than the tarball's gzip makes it, in seconds; the best quality takes minutes. */
const BROTLI_QUALITY = 9;

/** onnxruntime's WebAssembly is three quarters of the package: it is kept compressed, and dino export unpacks it. */
function compressWasm(folder) {
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.wasm'))) {
    const file = path.join(folder, name);
    const bytes = readFileSync(file);
    const params = {
      [zlib.constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY,
      [zlib.constants.BROTLI_PARAM_LGWIN]: 24,
      [zlib.constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    };
    writeFileSync(`${file}.br`, zlib.brotliCompressSync(bytes, { params }));
    rmSync(file);
  }
}

/** Builds the studio's page into dist/web, and the page of web exports into dist/share. */
function stepWeb() {
  const vite = inRoot('node_modules', 'vite', 'bin', 'vite.js');
  const built = ['web', 'share'].map((name) => inRoot('dist', name, 'index.html'));
  const isBuilt = built.every((file) => existsSync(file));
  if (!existsSync(vite)) {
    throw new SetupError('Vite is not installed: run node scripts/setup.mjs npm web');
  }
  const stamp = inRoot('dist', '.web-sources');
  const sources = webSources();
  if (isBuilt && existsSync(stamp) && readFileSync(stamp, 'utf8') === sources) return say('web: up to date');
  const start = performance.now();
  for (const page of ['web', 'web/share']) {
    const result = spawnSync(process.execPath, [vite, 'build', inRoot(page), '--logLevel', 'warn'], {
      cwd: packageRoot,
      stdio: 'inherit',
    });
    if (result.status !== 0) throw new SetupError(`web: the build of ${page} failed (see above)`);
  }
  compressWasm(inRoot('dist', 'share', 'assets'));
  writeFileSync(stamp, sources);
  say(`web: built in ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

// ------------------------------------------------------------------------------------------------------- main

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetupError(
      `Node.js 20.19 or newer is required; this is ${process.versions.node}. See https://nodejs.org`,
    );
  }
}

const steps = {
  npm: stepNpm,
  libtorch: stepLibtorch,
  native: stepNative,
  typescript: stepTypescript,
  web: stepWeb,
};

async function main(names) {
  checkNode();
  const unknown = names.filter((name) => !(name in steps));
  if (unknown.length > 0) {
    throw new SetupError(
      `Unknown step ${unknown.join(', ')}: the steps are ${Object.keys(steps).join(', ')}`,
    );
  }
  const chosen =
    names.length > 0 ? Object.keys(steps).filter((name) => names.includes(name)) : Object.keys(steps);
  // Before downloading half a gigabyte, make sure that there is a compiler to use it.
  if (chosen.includes('native')) findCompiler();
  const release = await lock(inRoot('.cache', 'setup.lock'), say);
  try {
    for (const name of chosen) await steps[name]();
  } finally {
    release();
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`\n[setup] ${error.message}`);
  process.exitCode = 1;
}
