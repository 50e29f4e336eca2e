/**
 * The device that tests of device code use: the one without hardware whose memory the CPU can't touch (native/guarded), which
 * is built when it is stale; or the one that DINO_TEST_DEVICE names, such as cuda:0 (`npm run test:cuda`).
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import { buildNative } from '../../scripts/build-native.mjs';
import { findLibtorch, packageRoot } from '../../scripts/find-libtorch.mjs';
import { assertDevice } from '../torch/index.js';
import { native } from '../torch/native.js';

const GUARDED = 'privateuseone:0';

export const TEST_DEVICE = process.env['DINO_TEST_DEVICE'] ?? GUARDED;
export const isGuarded = TEST_DEVICE === GUARDED;
/** Another device of its kind; null where there is one alone. */
export const secondTestDevice = (): string | null => {
  const [type] = TEST_DEVICE.split(':');
  return native.deviceCount(type!) > 1 ? `${type}:1` : null;
};

export async function openTestDevice(): Promise<void> {
  if (!isGuarded) return assertDevice(TEST_DEVICE);
  const { libtorch } = findLibtorch();
  await buildNative({ libtorch, only: 'guarded', log: () => undefined });
  const library = path.join(packageRoot, 'native', 'guarded', 'build', 'guarded.node');
  assert.equal(native.openLibrary(library), null);
}
