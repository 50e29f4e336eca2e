/**
 * Builds the two addons by calling the C++ compiler directly. node-gyp would fetch Node's headers from the network; the npm
 * packages node-addon-api and node-api-headers contain all that Node-API needs.
 *
 *   native/torch/build/torch.node   all native/torch/*.cc, linked to libtorch_cpu and libc10
 *   native/crops/build/crops.node   all native/crops/*.cc, no libtorch
 *
 * Each unit (a .cc, or several that include the same large headers) is compiled to an object, several at a time. It is
 * recompiled only when one of its sources, one of our headers that it includes, the flags, the compiler or libtorch changed:
 * a hash of all these is stored next to the object. Results are written under temporary names and renamed, so that a running
 * program never maps half an addon.
 *
 *   node scripts/build-native.mjs                                  both addons, if stale
 *   node scripts/build-native.mjs crops                            only one
 *   node scripts/build-native.mjs --sanitize=address,undefined     with GCC's or clang's sanitizers, into build-sanitized/
 */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findLibtorch, linkedFile, packageRoot, TORCH_VERSION } from './find-libtorch.mjs';
import { explainWriting, SetupError } from './setup-error.mjs';

export { SetupError };

const require = createRequire(import.meta.url);
const isMac = process.platform === 'darwin';

const sha = (...parts) => createHash('sha256').update(parts.join('\0')).digest('hex');

function firstLine(command, args) {
  try {
    const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] };
    return execFileSync(command, args, options).split('\n')[0].trim();
  } catch {
    return null;
  }
}

const compilerHelp = () =>
  [
    'Building the addons requires a C++20 compiler: g++ 11 or newer, or clang++ 14 or newer.',
    isMac
      ? '  macOS:          xcode-select --install'
      : [
          '  Debian, Ubuntu: sudo apt-get install g++',
          '  Fedora, RHEL:   sudo dnf install gcc-c++',
          '  Alpine:         not supported (PyTorch has no musl build)',
        ].join('\n'),
    'or set CXX to the compiler to use, for example CXX=g++-12, then run this again.',
  ].join('\n');

/** $CXX, c++, g++, clang++: the first that runs and supports C++20. */
export function findCompiler(env = process.env) {
  if (process.platform === 'win32') {
    throw new SetupError('Windows is not supported directly: use WSL (Windows Subsystem for Linux).');
  }
  const problems = [];
  for (const command of env.CXX ? [env.CXX] : ['c++', 'g++', 'clang++']) {
    // CXX may include a wrapper, as in "ccache g++"
    const [program, ...prefix] = command.split(' ').filter(Boolean);
    const version = firstLine(program, [...prefix, '--version']);
    if (version === null) {
      problems.push(`${command}: does not run`);
      continue;
    }
    const probe =
      '#include <concepts>\n#include <span>\ntemplate <std::integral T> T f(T x) { return x; }\nint x = f(1);\n';
    try {
      const args = [...prefix, '-std=c++20', '-x', 'c++', '-fsyntax-only', '-'];
      execFileSync(program, args, { input: probe, stdio: ['pipe', 'ignore', 'pipe'] });
      return { command, program, prefix, version };
    } catch (error) {
      const lines = String(error.stderr ?? '')
        .trim()
        .split('\n');
      problems.push(`${command} (${version}): can't compile C++20: ${lines[0]}`);
    }
  }
  throw new SetupError(`No C++20 compiler found.\n  ${problems.join('\n  ')}\n${compilerHelp()}`);
}

/** Contents of a source and of each of our headers that it includes, directly or indirectly. */
function sourceText(file, seen = new Set()) {
  if (seen.has(file)) return '';
  seen.add(file);
  const text = readFileSync(file, 'utf8');
  const own = [...text.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)]
    .map((match) => path.join(path.dirname(file), match[1]))
    .filter((header) => existsSync(header));
  return [text, ...own.map((header) => sourceText(header, seen))].join('\0');
}

/** @param input the text to compile, if the arguments name standard input as the file */
function runCompiler(compiler, args, input = '') {
  return new Promise((resolve, reject) => {
    const child = spawn(compiler.program, [...compiler.prefix, ...args], { stdio: 'pipe' });
    child.stdin.on('error', () => {}); // a compiler that exits early says why itself
    child.stdin.end(input);
    const output = [];
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => output.push(chunk));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const text = output.map(String).join('');
      if (code === 0) return resolve(text);
      const why = signal ? `was ended by ${signal} (out of memory?)` : `failed with exit code ${code}`;
      reject(
        new SetupError(
          `${compiler.command} ${why}:\n${text}\n  command: ${compiler.command} ${args.join(' ')}` +
            (input === '' ? '' : `\n  its input: ${input.trim().replaceAll('\n', ' ')}`),
        ),
      );
    });
  });
}

/** Runs tasks, `count` at a time; after a failure no new ones start. */
async function inParallel(tasks, count) {
  let next = 0;
  const worker = async () => {
    while (next < tasks.length) {
      const task = tasks[next++];
      try {
        await task();
      } catch (error) {
        next = tasks.length;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, tasks.length) }, worker));
}

/** A libtorch translation unit takes about 1.5 GB to compile. */
const compileJobs = () =>
  Math.max(1, Math.min(os.availableParallelism(), 4, Math.floor(os.totalmem() / 2 ** 31)));

const isClang = (compiler) => /clang/i.test(compiler.version);

/**
 * Sources that are compiled as one unit, because each would spend most of its time on the same headers of libtorch. Large
 * units come first, so that no core is left with one at the end. All other sources are units by themselves.
 */
const UNITS = {
  torch: [
    ['process-group', 'reducer', 'sync-batch-norm', 'batch-norm', 'convolution', 'autograd'],
    ['attention', 'perceptron', 'product', 'groups', 'orthogonalize', 'dispatch'],
    ['tensor', 'runtime', 'allocator', 'precision'],
  ],
  crops: [],
  guarded: [],
};

/** The levels for which a *.simd.cc is compiled, once each; the addon chooses the machine's best at run time. */
function vectorLevels() {
  const level = (name, ...flags) => ({ name, own: [`-DDINO_LEVEL=${name}`, '-O3', ...flags] });
  if (process.arch !== 'x64') return [level('base')];
  return [level('base'), level('v3', '-march=x86-64-v3'), level('v4', '-march=x86-64-v4')];
}

/** For a *.bf16.cc, which is compiled once: loops for processors of level v4 that multiply bfloat16. */
const BF16_FLAGS = ['-DDINO_LEVEL=bf16', '-O3', '-march=x86-64-v4', '-mavx512bf16'];

/** For a *.amx.cc: the same for processors that multiply tiles of bfloat16. */
const AMX_FLAGS = [...BF16_FLAGS, '-UDINO_LEVEL', '-DDINO_LEVEL=amx', '-mamx-tile', '-mamx-bf16'];

/** The units of an addon: { name, text, sources, own flags }. */
function unitsOf(name, folder, sources) {
  const joined = UNITS[name].map((files) => files.map((file) => `${file}.cc`));
  const alone = sources.filter((source) => !joined.flat().includes(source)).map((source) => [source]);
  return [...joined, ...alone].flatMap((own) => {
    const files = own.map((file) => path.join(folder, file));
    const unit = own[0].replace(/\.cc$/, '');
    for (const [ending, flags] of [
      ['.bf16.cc', BF16_FLAGS],
      ['.amx.cc', AMX_FLAGS],
    ])
      if (own[0].endsWith(ending)) return process.arch === 'x64' ? [{ name: unit, files, own: flags }] : [];
    if (!own[0].endsWith('.simd.cc')) return [{ name: unit, files, own: [] }];
    return vectorLevels().map((level) => ({ name: `${unit}.${level.name}`, files, own: level.own }));
  });
}

/**
 * Builds one addon if it is stale.
 * @returns {Promise<'absent' | 'fresh' | 'built'>}
 */
async function buildAddon({ name, output, compiler, flags, linkFlags, key, log }) {
  const folder = path.join(packageRoot, 'native', name);
  const sources = existsSync(folder)
    ? readdirSync(folder)
        .filter((file) => file.endsWith('.cc'))
        .sort()
    : [];
  if (sources.length === 0) return 'absent';
  const build = path.join(folder, output);
  const objects = path.join(build, 'obj');
  try {
    mkdirSync(objects, { recursive: true });
  } catch (error) {
    throw explainWriting(
      error,
      build,
      'Compile as a user who may write there, such as the one who installed the package.',
    );
  }
  const target = path.join(build, `${name}.node`);
  const base = sha(compiler.command, compiler.version, process.platform, process.arch, flags.join(' '), key);
  const readStamp = (file) =>
    existsSync(`${file}.stamp`) && existsSync(file) ? readFileSync(`${file}.stamp`, 'utf8') : '';

  const units = unitsOf(name, folder, sources).map((unit) => ({
    ...unit,
    object: path.join(objects, `${unit.name}.o`),
    stamp: sha(base, unit.own.join(' '), ...unit.files.map((file) => sourceText(file))),
  }));
  const stale = units.filter((unit) => readStamp(unit.object) !== unit.stamp);
  const linkStamp = sha(linkFlags.join(' '), ...units.map((unit) => unit.stamp));
  if (stale.length === 0 && readStamp(target) === linkStamp) return 'fresh';

  const start = performance.now();
  const names = [...new Set(stale.flatMap((unit) => unit.files.map((file) => path.basename(file))))].join(
    ', ',
  );
  log(
    `native/${name}: compiling ${names || 'nothing new, linking'} with ${compiler.command} (${compiler.version})`,
  );
  const tasks = stale.map((unit) => async () => {
    const partial = `${unit.object}.${process.pid}.o`;
    const text = unit.files.map((file) => `#include ${JSON.stringify(file)}\n`).join('');
    const args = [...flags, ...unit.own, '-x', 'c++', '-c', '-', '-o', partial];
    const warnings = await runCompiler(compiler, args, text);
    if (warnings.trim() !== '') log(warnings.trimEnd());
    renameSync(partial, unit.object);
    writeFileSync(`${unit.object}.stamp`, unit.stamp);
  });
  await inParallel(tasks, compileJobs());
  const partial = `${target}.${process.pid}`;
  const shared = isMac ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared'];
  await runCompiler(compiler, [...shared, ...units.map((unit) => unit.object), ...linkFlags, '-o', partial]);
  renameSync(partial, target);
  writeFileSync(`${target}.stamp`, linkStamp);
  for (const file of readdirSync(objects)) {
    if (!units.some((unit) => path.basename(unit.object) === file.replace(/\.stamp$/, ''))) {
      rmSync(path.join(objects, file)); // its source no longer exists
    }
  }
  log(`native/${name}: built in ${((performance.now() - start) / 1000).toFixed(1)} s`);
  return 'built';
}

function nodeApiFlags() {
  const folder = (name) => {
    try {
      return path.dirname(require.resolve(`${name}/package.json`));
    } catch {
      throw new SetupError(`The npm package ${name} is not installed: run npm ci (npm run setup does).`);
    }
  };
  return [
    '-DNAPI_VERSION=8',
    '-DNAPI_CPP_EXCEPTIONS',
    '-DNODE_ADDON_API_DISABLE_DEPRECATED',
    '-isystem',
    folder('node-addon-api'),
    '-isystem',
    path.join(folder('node-api-headers'), 'include'),
  ];
}

/** Flags of a build with sanitizers: whatever they find ends the process, so that a test fails. */
const sanitizerFlags = (sanitize) => [
  `-fsanitize=${sanitize.join(',')}`,
  '-fno-sanitize-recover=all',
  // it needs the type information of libtorch's classes, which the library doesn't export
  ...(sanitize.includes('undefined') ? ['-fno-sanitize=vptr'] : []),
  '-fno-omit-frame-pointer',
  '-g1',
];

/**
 * Builds the addons that are stale.
 * @param libtorch as found by findLibtorch
 * @param only 'torch' or 'crops', both without; or 'guarded', the tests' device, which is built only when it is named
 * @param sanitize the compiler's names of sanitizers: the build goes to native/NAME/build-sanitized instead of build
 */
export async function buildNative({ libtorch, log = console.log, only, sanitize = [] } = {}) {
  const compiler = findCompiler();
  const output = sanitize.length === 0 ? 'build' : 'build-sanitized';
  const watch = sanitize.length === 0 ? [] : sanitizerFlags(sanitize);
  const common = [
    '-std=c++20',
    '-fPIC',
    '-Wall',
    '-fvisibility=hidden',
    // errors name files: not by the folders of the machine that compiled them
    `-ffile-prefix-map=${packageRoot}=dino-ts`,
    ...nodeApiFlags(),
    ...(watch.length === 0 ? ['-O2'] : ['-O1', ...watch]),
  ];
  const results = {};
  if (only === undefined || only === 'crops') {
    results.crops = await buildAddon({
      name: 'crops',
      output,
      compiler,
      // no fused multiply-adds: they round differently from Pillow, which the crops must equal
      flags: [...common, ...(watch.length === 0 ? ['-O3'] : []), '-ffp-contract=off', '-pthread'],
      linkFlags: [...(isMac ? [] : ['-pthread']), ...watch],
      key: '',
      log,
    });
  }
  if (only === 'crops') return results;
  if (!libtorch)
    throw new SetupError(
      `libtorch was not found, so native/${only ?? 'torch'} cannot be built: run npm run setup.`,
    );
  const { include } = libtorch;
  const ofLibtorch = {
    output,
    compiler,
    flags: [
      ...common,
      `-ffile-prefix-map=${libtorch.root}=torch`,
      '-fno-math-errno', // these two let loops over floats be vectorized; no result changes
      '-fno-trapping-math',
      // at::parallel_for is a template in a header: without OpenMP it is a loop in one thread. The runtime is the one that
      // libtorch has loaded, libgomp, with which clang's code is not compatible.
      isClang(compiler) ? '-fopenmp-simd' : '-fopenmp',
      ...(isMac ? [] : ['-D_GLIBCXX_USE_CXX11_ABI=1']),
      '-DAT_PER_OPERATOR_HEADERS', // libtorch's headers then include only the operators that they call, not all 3,000
      `-DDINO_TORCH_VERSION="${TORCH_VERSION}"`,
      // -isystem: warnings inside PyTorch's headers are not ours to fix
      '-isystem',
      path.join(packageRoot, 'native', 'torch', 'include'),
      '-isystem',
      include,
      '-isystem',
      path.join(include, 'torch', 'csrc', 'api', 'include'),
    ],
    // no path of a library in it: src/torch/native.ts opens libtorch before the addon, wherever it is
    linkFlags: [`-L${libtorch.lib}`, '-ltorch_cpu', '-lc10', ...(isMac ? [] : ['-ldl']), ...watch],
    key: `${libtorch.root} ${libtorch.version}`,
    log,
  };
  if (only === 'guarded') return { guarded: await buildAddon({ name: 'guarded', ...ofLibtorch }) };
  results.torch = await buildAddon({ name: 'torch', ...ofLibtorch });
  if (results.torch !== 'absent' && sanitize.length === 0) {
    const text = JSON.stringify(libtorch, null, 2) + '\n';
    if (!existsSync(linkedFile) || readFileSync(linkedFile, 'utf8') !== text) writeFileSync(linkedFile, text);
  }
  return results;
}

function commandLine(args) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { sanitize: { type: 'string', default: '' } },
  });
  const [only, ...more] = positionals;
  if (more.length > 0 || !(only === undefined || only in UNITS)) {
    throw new SetupError(
      `expected one of ${Object.keys(UNITS).join(', ')} or nothing, got ${positionals.join(' ')}`,
    );
  }
  return { only, sanitize: values.sanitize.split(',').filter(Boolean) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const { libtorch } = findLibtorch(process.env, { headers: true });
    const results = await buildNative({ libtorch, ...commandLine(process.argv.slice(2)) });
    for (const [name, result] of Object.entries(results)) console.log(`native/${name}: ${result}`);
  } catch (error) {
    console.error(error instanceof SetupError ? error.message : error);
    process.exitCode = 1;
  }
}
