/**
 * Finds libtorch; set-up, `dino doctor` and the addon's loader all use it. It uses only built-in modules, because set-up
 * runs it before anything is installed.
 *
 * Order: LIBTORCH (an explicit choice: a wrong one is an error and never skipped); a PyTorch of the pinned version in the
 * active Python environment; the project's own copy in .libtorch/, made by `npm run setup`.
 *
 * Set-up records what it linked to in native/torch/build/libtorch.json, so that running the program doesn't need Python at
 * all: see readLinkedLibtorch.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The version of PyTorch whose operators src/torch/generated was made from. */
export const TORCH_VERSION = '2.15.0';

/** The packages that `pip` installs for the project's own copy; libtorch_cpu.so links to the two nvidia ones. */
export function pipRequirements(platform = process.platform) {
  const torch = `torch==${TORCH_VERSION}`;
  return platform === 'linux' ? [torch, 'nvidia-cuda-runtime==13.2.*', 'nvidia-cuda-cupti==13.2.*'] : [torch];
}

export const packageRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Where set-up puts the project's own copy. */
export const ownCopyDirectory = path.join(packageRoot, '.libtorch', TORCH_VERSION);

/** Where build-native records what the torch addon was linked to. */
export const linkedFile = path.join(packageRoot, 'native', 'torch', 'build', 'libtorch.json');

const libraryName = (name) => (process.platform === 'darwin' ? `lib${name}.dylib` : `lib${name}.so`);

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
 * Checks whether a folder is a libtorch with headers.
 * @returns {{ libtorch: object | null, problem: string | null }}
 */
export function inspectLibtorch(directory, source) {
  const root = [directory, path.join(directory, 'torch')].find((candidate) =>
    existsSync(path.join(candidate, 'lib', libraryName('torch_cpu'))),
  );
  if (root === undefined) {
    const problem = existsSync(directory)
      ? `has no lib/${libraryName('torch_cpu')} or torch/lib/${libraryName('torch_cpu')}`
      : 'does not exist';
    return { libtorch: null, problem };
  }
  if (!existsSync(path.join(root, 'include', 'ATen', 'ATen.h'))) {
    return { libtorch: null, problem: 'has the library but no headers (include/ATen/ATen.h)' };
  }
  const version = versionOf(root);
  if (version === null) return { libtorch: null, problem: 'has no version.py, build-version or version.h' };
  if (version !== TORCH_VERSION && source !== 'LIBTORCH') {
    return { libtorch: null, problem: `is version ${version}; this package is made for ${TORCH_VERSION}` };
  }
  const missing = missingDependencies(path.join(root, 'lib', libraryName('torch_cpu')));
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
 * @returns {{ libtorch: object | null, tried: { source: string, path: string, problem: string | null }[] }}
 *   `tried` lists each place up to the one found, and why it was skipped.
 */
export function findLibtorch(env = process.env) {
  const tried = [];
  const tryPlace = (source, directory) => {
    const { libtorch, problem } = inspectLibtorch(directory, source);
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
  return { libtorch: tryPlace('own copy', ownCopyDirectory), tried };
}

/** What the torch addon was linked to, or null before set-up. For use at run time: no Python, no search. */
export function readLinkedLibtorch() {
  try {
    return JSON.parse(readFileSync(linkedFile, 'utf8'));
  } catch {
    return null;
  }
}
