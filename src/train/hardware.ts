/** Which device a run uses; requesting one that is missing is an error. */
import { assertDevice, availableDevices } from '../torch/index.js';

/** @throws EngineError that says why a device can't be used. */
export function chooseDevice(wanted: string): string {
  if (wanted === 'auto') return availableDevices()[0] as string;
  assertDevice(wanted);
  return wanted === 'cuda' ? 'cuda:0' : wanted;
}
