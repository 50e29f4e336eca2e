/** `dino-ts/setup`: what works before libtorch is there. */
import '../plain/disposal.js';
export {
  runDoctor,
  type Check,
  type DeviceReport,
  type DoctorReport,
  type PrecisionReport,
} from './doctor.js';
export { setUp, type SetUpOptions, type SetUpResult } from './set-up.js';
