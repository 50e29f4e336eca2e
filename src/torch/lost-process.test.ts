/** Wherever a lost process is noticed, in whatever operator, it is a ProcessError in plain words. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

let folder = '';
before(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'dino-survivor-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

const script = fileURLToPath(new URL('../testing/survivor.js', import.meta.url));

interface Outcome {
  kind: string;
  message: string;
  cause: string | null;
  stderr: string;
}

/** What rank 0 catches when rank 1 is killed before its part of the work. */
async function survive(work: string): Promise<Outcome> {
  const store = path.join(folder, work.replaceAll(/\W/g, '-'));
  const [first] = await Promise.all(
    [0, 1].map(async (rank) => {
      const child = spawn(process.execPath, [script, store, String(rank), work], {
        env: { ...process.env, OMP_NUM_THREADS: '1' },
      });
      const output = { stdout: '', stderr: '' };
      child.stdout.on('data', (data: Buffer) => (output.stdout += data.toString()));
      child.stderr.on('data', (data: Buffer) => (output.stderr += data.toString()));
      await new Promise((resolve) => child.on('close', resolve));
      return output;
    }),
  );
  assert.ok(first !== undefined && first.stdout !== '', first?.stderr);
  return { ...(JSON.parse(first.stdout) as Outcome), stderr: first.stderr };
}

for (const work of [
  'all-reduce',
  'all-reduce that blocks',
  'all-gather',
  'broadcast',
  'barrier',
  'the backward pass, in the reducer',
  'a requested gradient, in the reducer',
  'the forward pass, in batch normalisation',
  'the backward pass, in batch normalisation',
  'the forward pass without gradients, in batch normalisation',
]) {
  test(`lost in ${work}`, async () => {
    const { kind, message, stderr } = await survive(work);
    assert.equal(kind, 'ProcessError', message);
    assert.doesNotMatch(message, /frame #|Exception raised|\.cc:|\n/);
    assert.equal(stderr, '');
  });
}
