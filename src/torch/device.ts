/**
 * Devices by name. CUDA is opened when a device is first asked about, from the libtorch that is loaded: the addon itself links
 * only the CPU libraries.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { EngineError } from '../errors.js';
import { setupCommand } from '../native-addons.js';
import { libtorchInUse, native } from './native.js';

/** Why CUDA can't be used, or null when it can. */
let cudaProblem: string | null | undefined;

function openCuda(): string | null {
  if (process.platform !== 'linux') return `CUDA is not available on ${process.platform}`;
  const library = path.join(libtorchInUse.lib, 'libtorch_cuda.so');
  if (!existsSync(library)) {
    return (
      `${library} does not exist: this is a libtorch for the CPU. Install PyTorch with CUDA ` +
      `(\`pip install torch==${libtorchInUse.version}\`), then ${setupCommand} finds it`
    );
  }
  const driver = native.openLibrary('libcuda.so.1');
  if (driver !== null) return `no NVIDIA driver was found (${driver})`;
  const opened = native.openLibrary(library);
  if (opened !== null) {
    return `${opened}. Install the CUDA packages too: \`pip install torch==${libtorchInUse.version}\`, then ${setupCommand}`;
  }
  return native.deviceCount('cuda') > 0 ? null : 'the driver shows no device (CUDA_VISIBLE_DEVICES?)';
}

/** Number of CUDA devices; 0 without any, see cudaUnavailableReason(). */
export function cudaDeviceCount(): number {
  return cudaUnavailableReason() === null ? native.deviceCount('cuda') : 0;
}

/**
 * The CUDA device of one of several processes on a machine: by its rank there, or the only one that it can see, where Slurm
 * (`--gpus-per-task=1`) or a wrapper shows each process its own.
 * @throws EngineError when there are fewer devices than processes.
 */
export function cudaDeviceOf(
  localRank: number,
  count = cudaDeviceCount(),
  visible = process.env['CUDA_VISIBLE_DEVICES'],
): string {
  if (count === 1 && visible !== undefined) return 'cuda:0';
  if (count > 0 && localRank >= count)
    throw new EngineError(
      `process ${localRank} of this machine (counted from 0) has no CUDA device of its own: it sees ${count} ` +
        `(CUDA_VISIBLE_DEVICES ${visible === undefined ? 'is not set' : `is ${visible}`}). Start at most ${count} processes here, ` +
        'or show each process its own device',
    );
  return `cuda:${localRank}`;
}

/** Why CUDA can't be used here; null when it can. */
export function cudaUnavailableReason(): string | null {
  if (cudaProblem === undefined) cudaProblem = openCuda();
  return cudaProblem;
}

export function mpsIsAvailable(): boolean {
  return native.deviceCount('mps') > 0;
}

/** The devices of this machine, fastest first: 'cuda:0', ..., 'mps', 'cpu'. */
export function availableDevices(): string[] {
  const cuda = Array.from({ length: cudaDeviceCount() }, (_, i) => `cuda:${i}`);
  return [...cuda, ...(mpsIsAvailable() ? ['mps'] : []), 'cpu'];
}

/**
 * Checks that a device can be used: 'cpu', 'cuda', 'cuda:1', 'mps', or 'privateuseone:0', PyTorch's name for a device that a
 * library opened in this process has registered (the tests' own, native/guarded).
 *
 * @throws EngineError that says why not. There is no fallback to another device.
 */
export function assertDevice(device: string): void {
  // libtorch looks for CUDA once, at its first convolution or backward pass, of the CPU's too: it has to be open by then
  cudaUnavailableReason();
  if (device === 'cpu') return;
  const match = /^(cpu|cuda|mps|privateuseone)(?::(\d+))?$/.exec(device);
  if (match === null) {
    throw new EngineError(`device: expected 'cpu', 'cuda', 'cuda:<number>' or 'mps', got '${device}'`);
  }
  const [, type, index = '0'] = match;
  if (type === 'cuda') {
    const reason = cudaUnavailableReason();
    if (reason !== null) throw new EngineError(`device '${device}' can't be used: ${reason}`);
    const count = native.deviceCount('cuda');
    if (Number(index) >= count) {
      throw new EngineError(`device '${device}' can't be used: this machine has cuda:0 to cuda:${count - 1}`);
    }
  }
  if (type === 'privateuseone' && Number(index) >= native.deviceCount(type))
    throw new EngineError(`device '${device}' can't be used: no library has registered it`);
  if (type === 'mps' && !mpsIsAvailable()) {
    throw new EngineError(
      `device '${device}' can't be used: this libtorch has no MPS (it needs macOS on Apple silicon)`,
    );
  }
}

/** Waits until the device has finished all its work. */
export function synchronize(device: string): void {
  native.synchronize(device);
}

/** Whether the device has nothing left to do. */
export function isIdle(device: string): boolean {
  return device === 'cpu' || native.isIdle(device);
}

/** Devices with streams, on which a copy and a computation overlap. MPS has one queue for both. */
export const hasStreams = (device: string): boolean => /^(cuda|privateuseone)/.test(device);
