/** A product's bits follow from its operands' values alone: not from where they lie in memory, nor from who loaded libtorch. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';

const child = fileURLToPath(new URL('../testing/products-child.js', import.meta.url));
const environment = { ...process.env };
delete environment['MKL_CBWR']; // set by the libtorch of the test's parent, if it has one

/** At a lower level than the machine's; the highest is what the machine has. */
const LEVELS: Record<string, Record<string, string>> = {
  "the machine's own level": {},
  AVX2: { ATEN_CPU_CAPABILITY: 'avx2', ONEDNN_MAX_CPU_ISA: 'AVX2', MKL_ENABLE_INSTRUCTIONS: 'AVX2' },
};

for (const [level, variables] of Object.entries(LEVELS)) {
  it(`gives the same bits wherever operands lie, at ${level}`, () => {
    const env = { ...environment, ...variables };
    assert.deepEqual(JSON.parse(execFileSync(process.execPath, [child], { env, encoding: 'utf8' })), []);
  });
}

it('gives them too where a worker thread, whose environment is a copy, loads libtorch', () => {
  const start = `new (require('node:worker_threads').Worker)(${JSON.stringify(child)}).on('message', (found) => console.log(JSON.stringify(found)))`;
  const printed = execFileSync(process.execPath, ['-e', start], { env: environment, encoding: 'utf8' });
  assert.deepEqual(JSON.parse(printed), []);
});
