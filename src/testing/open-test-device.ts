/** `node --import` of this file: the device without hardware is there in a program's own processes. */
import { isMainThread } from 'node:worker_threads';
import { openTestDevice } from './test-device.js';

if (isMainThread) await openTestDevice();
