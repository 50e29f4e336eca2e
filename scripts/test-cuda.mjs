/**
 * What needs a GPU, in one go: `npm run test:cuda`. The tests of device code on cuda:0 (training beside the CPU's losses,
 * resuming to the bit in fp32, bf16 and fp16, features and evaluations), NCCL where there are two GPUs, then the benchmark's
 * rows for CUDA. Ends with an error where there is no GPU, and says why.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { packageRoot } from './find-libtorch.mjs';

const { cudaDeviceCount, cudaUnavailableReason } = await import('../dist/torch/index.js');
const reason = cudaUnavailableReason();
if (reason !== null) {
  console.error(`CUDA can't be used here: ${reason}`);
  process.exit(1);
}
console.log(`${cudaDeviceCount()} CUDA device${cudaDeviceCount() === 1 ? '' : 's'}`);

function run(args, env = {}) {
  console.log(
    `\n$ ${[...Object.entries(env).map(([name, value]) => `${name}=${value}`), 'node', ...args].join(' ')}`,
  );
  const start = performance.now();
  const { status } = spawnSync(process.execPath, args, {
    cwd: packageRoot,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  console.log(
    `${status === 0 ? 'passed' : 'FAILED'} in ${((performance.now() - start) / 1000).toFixed(0)} s`,
  );
  return status === 0;
}

const passed = [
  run([path.join('scripts', 'test.mjs'), 'train/device', 'torch/nccl'], { DINO_TEST_DEVICE: 'cuda:0' }),
  run([path.join('bench', 'run.mjs'), 'cuda-bf16', 'cuda-fp16'], { DINO_BENCH_ROUNDS: '3' }),
];
process.exit(passed.every(Boolean) ? 0 : 1);
