/** How a process explains a failure that another process may have caused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { rankVariables, start } from '../testing/ranks.js';
import { freePort } from './launch.js';

const script = fileURLToPath(new URL('../testing/world-child.js', import.meta.url));

/** How rank 0 explains an error that doesn't name a cause, when rank 1 is alive or has died. */
async function explain(other: 'live' | 'die'): Promise<unknown> {
  const port = await freePort();
  const [first, second] = [0, 1].map((rank) =>
    start([process.execPath, script, other], rankVariables(rank, 2, port)),
  ) as [ReturnType<typeof start>, ReturnType<typeof start>];
  const { stdout, stderr } = await first.ended;
  second.child.kill('SIGKILL');
  await second.ended;
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(
    stdout
      .replaceAll(String(second.child.pid), 'PID')
      .replaceAll(/ on [^)]+\)/g, ' on HOST)')
      .replace('its last step was ?', 'its last step was 0'), // it died before its first heartbeat
  );
}

test('an error without a cause counts as a lost process when one has died, and not when all are alive', async () => {
  assert.deepEqual(await explain('die'), {
    kind: 'ProcessError',
    message:
      "Rank 1 (process PID on HOST) was killed, is stopped or can't be reached; its last step was 0. " +
      'This process stopped after step 0, and saved the state after it.',
    hasRescued: true,
  });
  assert.deepEqual(await explain('live'), {
    kind: 'Error',
    message: 'Something went wrong.',
    hasRescued: false,
  });
});
