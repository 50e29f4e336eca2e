/**
 * Finds libtorch; set-up, `dino doctor` and the addon's loader all use it. It uses only built-in modules, because set-up
 * runs it before anything is installed.
 *
 * Order: LIBTORCH (an explicit choice: a wrong one is an error and never skipped); a PyTorch of the pinned version in the
 * active Python environment; a copy in .libtorch/ of a checkout; the copy in the user's cache folder, which `dino setup`
 * fetches.
 *
 * The search runs Python, so its result is noted and used as long as that libtorch is there: beside a compiled addon for what
 * it was compiled with, else in the cache folder. See libtorchToLoad.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { SetupError } from './setup-error.mjs';

/** The version of PyTorch whose operators src/torch/generated was made from. */
export const TORCH_VERSION = '2.15.0';

export const packageRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** A copy in a checkout. */
export const ownCopyDirectory = path.join(packageRoot, '.libtorch', TORCH_VERSION);

/** Where build-native records what the torch addon was compiled with. */
export const linkedFile = path.join(packageRoot, 'native', 'torch', 'build', 'libtorch.json');

/** The machine, as packages of compiled code are named: linux-x64, darwin-arm64, win32-x64. */
export const machineName = (platform = process.platform, arch = process.arch) => `${platform}-${arch}`;

/**
 * The user's cache folder: DINO_CACHE, else as the system has it.
 * @throws SetupError when the user has no home folder.
 */
export function cacheDirectory(env = process.env, platform = process.platform) {
  if (env.DINO_CACHE) return path.resolve(env.DINO_CACHE);
  if (env.XDG_CACHE_HOME) return path.resolve(env.XDG_CACHE_HOME, 'dino-ts');
  if (platform === 'win32' && env.LOCALAPPDATA) return path.join(env.LOCALAPPDATA, 'dino-ts', 'cache');
  let home = '';
  try {
    home = env.HOME || os.homedir();
  } catch {
    // a user without an entry in the system's list
  }
  if (home === '' || home === '/') {
    throw new SetupError(
      'This user has no home folder, so there is no place for libtorch: set DINO_CACHE=<folder>.',
    );
  }
  return platform === 'darwin'
    ? path.join(home, 'Library', 'Caches', 'dino-ts')
    : path.join(home, '.cache', 'dino-ts');
}

/** Where `dino setup` puts its copy: one for each version and machine. */
export const cachedCopyDirectory = (env = process.env, machine = machineName()) =>
  path.join(cacheDirectory(env), 'libtorch', `${TORCH_VERSION}-${machine}`);

/** Where the result of the last search is noted. */
const noteFile = (env) => `${cachedCopyDirectory(env)}.json`;

export const libraryName = (name, platform = process.platform) =>
  platform === 'win32' ? `${name}.dll` : `lib${name}.${platform === 'darwin' ? 'dylib' : 'so'}`;

/** The version of a libtorch folder, such as "2.15.0", from the wheel's version.py, the zip's build-version or the headers. */
function versionOf(root) {
  const sources = [
    ['version.py', /^__version__\s*=\s*'(\d+\.\d+\.\d+[^+']*)/m],
    ['build-version', /^(\d+\.\d+\.\d+[^+\s]*)/],
    ['include/torch/headeronly/version.h', /define TORCH_VERSION "?(\d+\.\d+\.\d+)/],
    ['include/torch/csrc/api/include/torch/version.h', /define TORCH_VERSION "?(\d+\.\d+\.\d+)/],
  ];
  for (const [file, pattern] of sources) {
    const full = path.join(root, file);
    if (!existsSync(full)) continue;
    const found = pattern.exec(readFileSync(full, 'utf8'));
    if (found) return found[1];
  }
  return null;
}

/** Names of shared libraries that libtorch_cpu.so needs and the loader doesn't find (only on Linux). */
function missingDependencies(library) {
  if (process.platform !== 'linux') return [];
  try {
    const out = execFileSync('ldd', [library], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return [...out.matchAll(/^\s*(\S+) => not found/gm)].map((match) => match[1]);
  } catch {
    return []; // no ldd (or it can't run the file): the addon's own load error will name what is missing
  }
}

/**
 * Checks whether a folder is a libtorch.
 * @param options.headers whether one can compile with it, too
 * @returns {{ libtorch: object | null, problem: string | null }}
 */
export function inspectLibtorch(directory, source, { headers = false } = {}) {
  const library = libraryName('torch_cpu');
  const root = [directory, path.join(directory, 'torch')].find((candidate) =>
    existsSync(path.join(candidate, 'lib', library)),
  );
  if (root === undefined) {
    const problem = existsSync(directory)
      ? `has no lib/${library} or torch/lib/${library}`
      : 'does not exist';
    return { libtorch: null, problem };
  }
  if (headers && !existsSync(path.join(root, 'include', 'ATen', 'ATen.h'))) {
    return { libtorch: null, problem: 'has the library but no headers (include/ATen/ATen.h)' };
  }
  const version = versionOf(root);
  if (version === null) return { libtorch: null, problem: 'has no version.py, build-version or version.h' };
  if (version !== TORCH_VERSION && source !== 'LIBTORCH') {
    return { libtorch: null, problem: `is version ${version}; this package is made for ${TORCH_VERSION}` };
  }
  const missing = missingDependencies(path.join(root, 'lib', library));
  if (missing.length > 0) {
    return { libtorch: null, problem: `lacks libraries that it links to: ${missing.join(', ')}` };
  }
  const hasCuda = existsSync(path.join(root, 'lib', libraryName('torch_cuda')));
  return {
    libtorch: {
      source,
      root,
      lib: path.join(root, 'lib'),
      include: path.join(root, 'include'),
      version,
      hasCuda,
    },
    problem: null,
  };
}

/** The Python interpreters worth asking, the active environment's first. */
export function pythonCandidates(env = process.env) {
  const bin = process.platform === 'win32' ? ['Scripts', 'python.exe'] : ['bin', 'python'];
  const active = [env.VIRTUAL_ENV, env.CONDA_PREFIX].filter(Boolean).map((dir) => path.join(dir, ...bin));
  return [...active.filter((file) => existsSync(file)), 'python3', 'python'];
}

/** Folder of a Python's `torch` package, found without importing it (which would take seconds). */
function torchOfPython(python) {
  const program =
    'import importlib.util as u, os; s = u.find_spec("torch"); print(os.path.dirname(s.origin) if s and s.origin else "")';
  try {
    const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 30_000 };
    return { ran: true, directory: execFileSync(python, ['-c', program], options).trim() };
  } catch {
    return { ran: false, directory: '' };
  }
}

/**
 * Tries every place in order.
 * @param options.headers whether one must be able to compile with it
 * @returns {{ libtorch: object | null, tried: { source: string, path: string, problem: string | null }[] }}
 *   `tried` lists each place up to the one found, and why it was skipped.
 */
export function findLibtorch(env = process.env, options = {}) {
  const tried = [];
  const tryPlace = (source, directory) => {
    const { libtorch, problem } = inspectLibtorch(directory, source, options);
    tried.push({ source, path: libtorch?.root ?? directory, problem });
    return libtorch;
  };
  if (env.LIBTORCH) {
    // An explicit path is used or reported, never silently replaced by another.
    return { libtorch: tryPlace('LIBTORCH', path.resolve(env.LIBTORCH)), tried };
  }
  tried.push({ source: 'LIBTORCH', path: '(environment variable)', problem: 'is not set' });
  const seen = new Set();
  for (const python of pythonCandidates(env)) {
    const { ran, directory } = torchOfPython(python);
    if (!ran) {
      tried.push({ source: 'python', path: python, problem: 'does not run' });
    } else if (directory === '') {
      tried.push({ source: 'python', path: python, problem: 'has no torch installed' });
    } else if (!seen.has(directory)) {
      seen.add(directory);
      const libtorch = tryPlace('python', directory);
      if (libtorch) return { libtorch, tried };
    }
  }
  if (existsSync(ownCopyDirectory)) {
    const libtorch = tryPlace('own copy', ownCopyDirectory);
    if (libtorch) return { libtorch, tried };
  }
  let cached;
  try {
    cached = cachedCopyDirectory(env);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    tried.push({ source: 'cache', path: '(no folder)', problem: error.message });
    return { libtorch: null, tried };
  }
  return { libtorch: tryPlace('cache', cached), tried };
}

function readNote(file) {
  try {
    const { root, version } = JSON.parse(readFileSync(file, 'utf8'));
    if (typeof root !== 'string' || versionOf(root) !== version) return null;
    const lib = path.join(root, 'lib');
    if (!existsSync(path.join(lib, libraryName('torch_cpu')))) return null;
    const hasCuda = existsSync(path.join(lib, libraryName('torch_cuda')));
    return { source: 'noted', root, lib, include: path.join(root, 'include'), version, hasCuda };
  } catch {
    return null;
  }
}

/** What the torch addon was compiled with, or null: not compiled here, or that libtorch is gone. */
export const readLinkedLibtorch = () => readNote(linkedFile);

/** Notes which libtorch a search found, for the next time; without a cache folder that can be written, the search is repeated. */
export function noteLibtorch(libtorch, env = process.env) {
  if (libtorch.source === 'own copy') return; // it goes with its checkout
  try {
    const file = noteFile(env);
    mkdirSync(path.dirname(file), { recursive: true });
    const partial = `${file}.${process.pid}`;
    writeFileSync(partial, `${JSON.stringify(libtorch, null, 2)}\n`);
    renameSync(partial, file);
  } catch {
    // as a user who may not write there would have it
  }
}

/**
 * The libtorch to load. Python runs only when nothing is known from an earlier search.
 * @param compiled whether the addon was compiled on this machine
 */
export function libtorchToLoad(compiled, env = process.env) {
  if (env.LIBTORCH) return findLibtorch(env);
  if (compiled) {
    const linked = readLinkedLibtorch();
    if (linked !== null) return { libtorch: linked, tried: [] };
  }
  let noted = null;
  try {
    noted = readNote(noteFile(env));
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
  }
  if (noted?.version === TORCH_VERSION) return { libtorch: noted, tried: [] };
  const found = findLibtorch(env);
  if (found.libtorch !== null) noteLibtorch(found.libtorch, env);
  return found;
}
