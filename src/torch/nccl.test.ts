/** The addon constructs NCCL's group in a buffer of its own: only for the version whose object sizes are known. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findCompiler } from '../../scripts/build-native.mjs';
import { TORCH_VERSION } from '../../scripts/find-libtorch.mjs';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-nccl-'));
after(() => rmSync(folder, { recursive: true }));
const distributed = fileURLToPath(new URL('./distributed.js', import.meta.url));

/** The output of a single process that creates a group with NCCL; the preloaded library overrides libtorch's functions. */
function answer(preload: string | null): string {
  const program = `
    import { ProcessGroup, Store } from ${JSON.stringify(distributed)};
    const store = Store.file(${JSON.stringify(path.join(folder, 'store'))}, 1);
    const place = { rank: 0, size: 1, address: '127.0.0.1', timeoutMs: 20_000, nccl: true };
    await ProcessGroup.connect(store, place).then(() => console.log('connected'), (error) => console.log(error.message));
    process.reallyExit(0);`;
  const env = { ...process.env, ...(preload === null ? {} : { LD_PRELOAD: preload }) };
  return execFileSync(process.execPath, ['--input-type=module', '-e', program], { env, encoding: 'utf8' });
}

it(
  'refuses libtorch of a different version, and says which it is',
  { skip: process.platform !== 'linux' },
  () => {
    const source = path.join(folder, 'version.cc');
    const library = path.join(folder, 'version.so');
    writeFileSync(
      source,
      'extern "C" unsigned long aoti_torch_abi_version() { return 2UL << 56 | 14UL << 48 | 1UL << 40; }',
    );
    const { program, prefix } = findCompiler();
    execFileSync(program, [...prefix, '-shared', '-fPIC', source, '-o', library]);
    assert.match(
      answer(library),
      new RegExp(`NCCL.*libtorch ${TORCH_VERSION.replaceAll('.', '\\.')}.*2\\.14\\.1`),
    );
  },
);

it('continues with looking for NCCL in the known version', () => {
  assert.doesNotMatch(answer(null), /libtorch 2\./);
});
