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
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildNative, findCompiler, SetupError } from './build-native.mjs';
import {
  findLibtorch,
  inspectLibtorch,
  ownCopyDirectory,
  packageRoot,
  pipRequirements,
  pythonCandidates,
  TORCH_VERSION,
} from './find-libtorch.mjs';

const say = (text) => console.log(`[setup] ${text}`);
const inRoot = (...parts) => path.join(packageRoot, ...parts);
const GIB = 2 ** 30;

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
  if (!existsSync(inRoot('package-lock.json'))) return say('npm packages: installed by the package manager');
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

const pipHelp = [
  "pip is needed once, to download PyTorch's library. Any of these helps:",
  '  Debian, Ubuntu: sudo apt-get install python3-pip      (or python3-venv)',
  '  Fedora, RHEL:   sudo dnf install python3-pip',
  '  macOS:          python3 -m ensurepip --user',
  `or set LIBTORCH to a folder with libtorch ${TORCH_VERSION} (https://pytorch.org/get-started/locally, "LibTorch").`,
].join('\n');

/** A command that runs pip: a Python that has it, else a temporary virtual environment. */
function findPip() {
  const problems = [];
  const runs = (python) =>
    spawnSync(python, ['-m', 'pip', '--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const working = [];
  for (const python of pythonCandidates()) {
    const result = runs(python);
    if (result.status === 0) return [python, '-m', 'pip'];
    if (result.error) problems.push(`${python}: does not run`);
    else {
      working.push(python);
      problems.push(`${python}: ${(result.stderr ?? '').trim().split('\n').at(-1)}`);
    }
  }
  for (const python of working) {
    const folder = inRoot('.cache', 'pip-venv');
    rmSync(folder, { recursive: true, force: true });
    const made = spawnSync(python, ['-m', 'venv', folder], { stdio: 'ignore' });
    const inVenv = path.join(folder, 'bin', 'python');
    if (made.status === 0 && runs(inVenv).status === 0) return [inVenv, '-m', 'pip'];
    problems.push(`${python} -m venv: doesn't provide pip either`);
  }
  throw new SetupError(`No Python 3 with pip was found.\n  ${problems.join('\n  ')}\n${pipHelp}`);
}

function removePartialCopies() {
  const folder = path.dirname(ownCopyDirectory);
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) {
    if (name.startsWith('partial-')) rmSync(path.join(folder, name), { recursive: true, force: true });
  }
}

/** Runs pip install --target in a temporary folder, then renames it: an interrupted download leaves nothing that looks complete. */
function installOwnCopy() {
  const pip = findPip();
  removePartialCopies();
  const folder = path.dirname(ownCopyDirectory);
  mkdirSync(folder, { recursive: true });
  const free = statfsSync(folder);
  if (free.bavail * free.bsize < 3 * GIB) {
    throw new SetupError(
      `libtorch needs about 3 GB of free disk while it is unpacked; ${folder} has ` +
        `${((free.bavail * free.bsize) / GIB).toFixed(1)} GB. Free some space, or set LIBTORCH to a copy elsewhere.`,
    );
  }
  const partial = path.join(folder, `partial-${process.pid}`);
  const requirements = pipRequirements();
  // --target never touches the Python installation, so a distribution's "externally managed" mark does not apply.
  const options = [
    '--no-deps',
    '--disable-pip-version-check',
    '--no-warn-script-location',
    '--target',
    partial,
  ];
  const install = (extra) => {
    rmSync(partial, { recursive: true, force: true });
    const args = [...pip.slice(1), 'install', ...options, ...extra, ...requirements];
    return spawnSync(pip[0], args, {
      cwd: folder, // not the package root: a Python file there must not shadow a module of pip's
      stdio: ['ignore', 'inherit', 'pipe'],
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
      env: { ...process.env, PIP_USER: '0', PIP_ROOT_USER_ACTION: 'ignore' },
    });
  };
  say(`libtorch: downloading ${requirements.join(' ')} with ${pip.join(' ')} (about 540 MB, 1.3 GB on disk)`);
  let result = install([]);
  if (result.status !== 0 && /no matching distribution|could not find a version/i.test(result.stderr ?? '')) {
    // This Python is older or newer than those PyTorch has wheels for. The C++ library is the same in all of them.
    say(
      'libtorch: no wheel for this Python version; using the one for Python 3.12 (only its C++ part is used)',
    );
    result = install(['--only-binary=:all:', '--python-version', '3.12', '--implementation', 'cp']);
  }
  if (result.status !== 0) {
    rmSync(partial, { recursive: true, force: true });
    throw new SetupError(
      `pip could not install libtorch:\n${(result.stderr ?? String(result.error)).trim()}\n` +
        `Is the network available? A machine without one can use LIBTORCH=<folder with libtorch ${TORCH_VERSION}>.`,
    );
  }
  const { problem } = inspectLibtorch(partial, 'own copy');
  if (problem !== null) throw new SetupError(`internal: pip succeeded but ${partial} ${problem}`);
  rmSync(ownCopyDirectory, { recursive: true, force: true });
  renameSync(partial, ownCopyDirectory);
}

function stepLibtorch() {
  let { libtorch, tried } = findLibtorch();
  if (libtorch === null) {
    if (process.env.LIBTORCH) {
      throw new SetupError(
        `LIBTORCH=${process.env.LIBTORCH} ${tried[0].problem}. Set it to the folder that contains lib/ and include/, ` +
          'or unset it.',
      );
    }
    for (const { source, path: where, problem } of tried) say(`libtorch: ${source} ${where} ${problem}`);
    installOwnCopy();
    ({ libtorch } = findLibtorch());
    if (libtorch === null) throw new SetupError('internal: libtorch was not found after installing it');
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
  const { libtorch } = findLibtorch();
  const results = await buildNative({ libtorch, log: say });
  for (const [name, result] of Object.entries(results)) {
    if (result === 'fresh') say(`native/${name}: up to date`);
    if (result === 'absent') say(`native/${name}: no sources`);
  }
}

function stepTypescript() {
  const tsc = inRoot('node_modules', 'typescript', 'bin', 'tsc');
  if (!existsSync(tsc)) {
    if (existsSync(inRoot('dist', 'index.js'))) return say('TypeScript: already compiled in this package');
    throw new SetupError('TypeScript is not installed: run node scripts/setup.mjs npm typescript');
  }
  const start = performance.now();
  // the tests of the public API import the compiled package, so they come last
  for (const project of ['.', 'test']
    .map((folder) => inRoot(folder))
    .filter((folder) => existsSync(folder))) {
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
  return hash.update(readFileSync(inRoot('package-lock.json'))).digest('hex');
}

/** Builds the studio's page into dist/web, and the page of web exports into dist/share. */
function stepWeb() {
  const vite = inRoot('node_modules', 'vite', 'bin', 'vite.js');
  const built = ['web', 'share'].map((name) => inRoot('dist', name, 'index.html'));
  const isBuilt = built.every((file) => existsSync(file));
  if (!existsSync(vite) || !existsSync(inRoot('web'))) {
    if (isBuilt) return say('web: already built in this package');
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
  writeFileSync(stamp, sources);
  say(`web: built in ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

// ------------------------------------------------------------------------------------------------------- main

const isAlive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
};

/** Two set-ups at the same time would write the same files, so the second waits. @returns A function that releases the lock. */
async function lock() {
  const folder = inRoot('.cache');
  const file = path.join(folder, 'setup.lock');
  mkdirSync(folder, { recursive: true });
  for (let waited = 0; ; waited++) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    let owner;
    try {
      owner = Number(readFileSync(file, 'utf8'));
    } catch {
      continue; // released between the two calls
    }
    // An empty file is a lock being written; one that stays empty was left by a crash.
    if (owner === 0 ? waited > 20 : !isAlive(owner)) rmSync(file, { force: true });
    else {
      if (waited === 2) say(`waiting for another set-up (process ${owner})`);
      await sleep(250);
    }
  }
}

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
  const release = await lock();
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
