/**
 * Trains in a separate process, so that a test can kill it: `node train-child.js <images> <run> <settings as JSON>`. It
 * resumes the run if it exists.
 */
import { trainSettingsSchema } from '../run/settings.js';
import { isRunFolder } from '../run/run-folder.js';
import { train } from '../train/train.js';

const [images, output, settings] = process.argv.slice(2);
if (images === undefined || output === undefined || settings === undefined)
  throw new Error('expected three arguments');
await train({
  images,
  output,
  settings: trainSettingsSchema.parse(JSON.parse(settings)),
  resume: isRunFolder(output),
  onEvent: (event) => {
    if (event.type === 'start') console.log('started');
  },
});
console.log('finished');
