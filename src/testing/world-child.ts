/**
 * For tests: one of two processes of a world, `node world-child.js <live or die>`, with a launcher's variables. Rank 1 dies
 * or lives on; rank 0 gets an error that doesn't name its cause, and prints how it explains it, as JSON.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { joinWorld } from '../processes/join-world.js';

const world = await joinWorld({ timeoutMs: 20_000 });
await world.meet('the start');
let hasRescued = false;
if (world.rank === 1) {
  if (process.argv[2] === 'die') process.kill(process.pid, 'SIGKILL');
  await sleep(60_000);
}
let caught: unknown;
try {
  await world.attempt(
    () => Promise.resolve((hasRescued = true)),
    () => {
      throw new Error('Something went wrong.');
    },
  );
} catch (error) {
  caught = error;
}
const explained = (await world.explain(caught)) as Error;
process.stdout.write(
  JSON.stringify({ kind: explained.constructor.name, message: explained.message, hasRescued }),
  () => process.kill(process.pid, 'SIGKILL'),
);
