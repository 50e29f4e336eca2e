/** Whether a CUDA device can be used here. */
import { availableDevices } from '../dist/torch/index.js';

export const cudaThere = () => availableDevices().some((device) => device.startsWith('cuda'));
