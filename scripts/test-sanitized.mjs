/**
 * The tests of native/ with both addons built under AddressSanitizer and UndefinedBehaviorSanitizer, at each level of
 * vector instructions that this machine supports: `node scripts/test-sanitized.mjs`. The tests must have been compiled.
 *
 * Only for Linux: the sanitizers' libraries are loaded before everything else (LD_PRELOAD), because Node, which loads the
 * addons, is not built with them.
 */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { buildNative, findCompiler, SetupError } from './build-native.mjs';
import { findLibtorch } from './find-libtorch.mjs';
import { NATIVE_TESTS, runNativeTests } from './native-tests.mjs';

// the third is not part of 'undefined', although converting a double that doesn't fit an int is undefined as well
const SANITIZERS = ['address', 'undefined', 'float-cast-overflow'];

/** The compiler's sanitizer libraries, AddressSanitizer's first: it must come before everything that allocates. */
function sanitizerLibraries({ program, prefix, version }) {
  const find = (name) => {
    const file = execFileSync(program, [...prefix, `-print-file-name=${name}`], { encoding: 'utf8' }).trim();
    if (file === name) throw new SetupError(`${version} has no ${name}: install its sanitizers`);
    return file;
  };
  // clang only links them statically into programs; its shared ones have different names
  if (/clang/i.test(version)) throw new SetupError(`the sanitizers require GCC; CXX is ${version}`);
  // libstdc++ by name: AddressSanitizer looks for its __cxa_throw at the start, and Node may not have loaded it by then
  return [find('libasan.so'), find('libubsan.so'), find('libstdc++.so.6')];
}

async function main() {
  if (process.platform !== 'linux') throw new SetupError('the sanitizers run only on Linux');
  const compiler = findCompiler();
  const { libtorch } = findLibtorch(process.env, { headers: true });
  await buildNative({ libtorch, sanitize: SANITIZERS });
  const env = {
    DINO_NATIVE_BUILD: 'build-sanitized',
    LD_PRELOAD: sanitizerLibraries(compiler).join(':'),
    ASAN_OPTIONS: [
      // V8 and libtorch keep what they allocate once until the process ends
      'detect_leaks=0',
      // V8 catches accesses beyond a WebAssembly memory by SIGSEGV (sharp's and tests' modules), and handles it
      'allow_user_segv_handler=1',
      // freed memory stays poisoned for 64 MB, not 256: torch's tensors are large, and so is the suite
      'quarantine_size_mb=64',
    ].join(':'),
    UBSAN_OPTIONS: 'print_stacktrace=1',
  };
  const { vectors } = createRequire(import.meta.url)('../native/crops/build/crops.node');
  for (const level of vectors.available) {
    const isBest = level === vectors.available.at(-1);
    const tests = isBest
      ? [...NATIVE_TESTS, { files: ['torch/torch', 'torch/arena', 'data/read/decode'] }]
      : NATIVE_TESTS;
    const start = performance.now();
    const { ok, output } = await runNativeTests({ ...env, DINO_VECTORS: level }, tests);
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    console.log(`sanitizers, level ${level}: ${ok ? 'nothing found' : 'FAILED'} in ${seconds} s`);
    if (!ok) throw new SetupError(output);
  }
}

try {
  await main();
} catch (error) {
  console.error(error instanceof SetupError ? error.message : error);
  process.exitCode = 1;
}
