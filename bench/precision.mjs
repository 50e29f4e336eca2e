import { PRECISIONS } from '../dist/plain/precisions.js';
import { precisionProblem } from '../dist/torch/index.js';

/**
 * The precision of a row: the one it names, fp32 by default, or for `auto` the fastest on this machine, by one run of each after
 * one that is not timed.
 */
export async function settled(wanted = 'fp32', device, run) {
  if (wanted !== 'auto') return wanted;
  const times = [];
  for (const name of PRECISIONS.filter((one) => precisionProblem(one, device) === null)) {
    await run(name);
    const start = performance.now();
    await run(name);
    times.push([performance.now() - start, name]);
  }
  return times.sort(([a], [b]) => a - b)[0][1];
}
