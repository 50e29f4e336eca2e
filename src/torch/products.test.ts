/** A product's bits depend only on its operands' values: not on their addresses, nor on which thread loaded libtorch. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';

const child = fileURLToPath(new URL('../testing/products-child.js', import.meta.url));
const environment = { ...process.env };
delete environment['MKL_CBWR']; // set by libtorch in the test's parent process, if it loaded it

/** The machine's own level of vector instructions, and a lower one. */
const LEVELS: Record<string, Record<string, string>> = {
  "the machine's own level": {},
  AVX2: { ATEN_CPU_CAPABILITY: 'avx2', ONEDNN_MAX_CPU_ISA: 'AVX2', MKL_ENABLE_INSTRUCTIONS: 'AVX2' },
};

for (const [level, variables] of Object.entries(LEVELS)) {
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
