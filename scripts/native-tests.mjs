/**
 * The tests of the loops in native/, which run again for each level of vector instructions that this machine supports
 * (test/native-levels.test.ts) and under the compiler's sanitizers (scripts/test-sanitized.mjs).
 */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { packageRoot } from './find-libtorch.mjs';

/** Compiled test files, and optionally a pattern that selects some of their tests. */
export const NATIVE_TESTS = [
  {
    files: [
      'data/crops/crops',
      'plain/pillow-resize',
      'data/crops/augmentation',
      'data/read/use-image',
      'torch/kernels',
      'torch/kernel-arguments',
      'torch/precision',
      'models/blocks-in-groups',
      'nn/batch-norm',
      'nn/convolution',
      'optim/muon',
    ],
  },
  // the other tests of this file take a minute and run the same loops
  { files: ['models/vision-transformer'], names: '^gradients are|class token' },
];

/**
 * Runs them in separate processes.
 * @param env added to the environment; null removes a variable
 * @returns {Promise<{ ok: boolean, output: string }>} what they printed
 */
export async function runNativeTests(env, tests = NATIVE_TESTS) {
  const variables = { ...process.env, ...env };
  // a runner that finds this variable of its parent reports to it instead of printing
  delete variables.NODE_TEST_CONTEXT;
  for (const [name, value] of Object.entries(variables)) if (value === null) delete variables[name];
  let output = '';
  for (const { files, names } of tests) {
    const args = [
      ...['--expose-gc', '--test', '--test-concurrency=1', '--test-reporter=tap'],
      ...(names === undefined ? [] : [`--test-name-pattern=${names}`]),
      ...files.map((file) => path.join(packageRoot, 'dist', `${file}.test.js`)),
    ];
    const child = spawn(process.execPath, args, {
      cwd: packageRoot,
      env: variables,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
    const code = await new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', resolve);
    });
    if (code !== 0) return { ok: false, output };
  }
  return { ok: true, output };
}
