/** A product's bits depend only on its operands' values: not on their addresses, nor on which thread loaded libtorch. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { VECTOR_LEVELS } from '../testing/vector-levels.js';

const child = fileURLToPath(new URL('../testing/products-child.js', import.meta.url));
const environment = { ...process.env };
delete environment['MKL_CBWR']; // set by libtorch in the test's parent process, if it loaded it

for (const [level, variables] of Object.entries(VECTOR_LEVELS)) {
  it(`gives the same bits at any address of the operands, at ${level}`, () => {
    const env = { ...environment, ...variables };
    assert.deepEqual(JSON.parse(execFileSync(process.execPath, [child], { env, encoding: 'utf8' })), []);
  });
}

it('does so too when a worker thread, whose environment is a copy, loads libtorch', () => {
  const start = `new (require('node:worker_threads').Worker)(${JSON.stringify(child)}).on('message', (found) => console.log(JSON.stringify(found)))`;
  const printed = execFileSync(process.execPath, ['-e', start], { env: environment, encoding: 'utf8' });
  assert.deepEqual(JSON.parse(printed), []);
});
