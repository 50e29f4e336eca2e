/** A command that writes a file replaces none that it reads: not the weights, nor a list of images. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { ConfigError } from '../../errors.js';
import { writeColourFolders, writeTinyRun } from '../../testing/saved-run.js';
import { type AnyCommand, runCommand } from '../command.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-inputs-kept-'));
const at = (...names: string[]): string => path.join(folder, ...names);
const weights = at('w.safetensors');
const link = at('link.safetensors');
const inRun = at('run', 'checkpoints', 'step-00000012', 'teacher.safetensors');
before(async () => {
  writeTinyRun(at('run')).dispose();
  cpSync(inRun, weights);
  symlinkSync(weights, link);
  await writeColourFolders(at('images'), 1);
  const listed = ['blue', 'red'].map((name) => at('images', name, `${name} 0.png`));
  writeFileSync(at('list.csv'), listed.join('\n'));
});
after(() => rmSync(folder, { recursive: true }));

async function refused(name: string, ...args: string[]): Promise<void> {
  const { command } = (await import(`../${name}.js`)) as { command: AnyCommand };
  await assert.rejects(runCommand(command, name, '', args), (error) => {
    assert.ok(error instanceof ConfigError, `${name}: ${String(error)}`);
    assert.match(error.message, / is read here, and the result would replace it: give .*-2.* is not taken/);
    return true;
  });
}

it('refuses an output that is one of the inputs, whatever its name', async () => {
  const files = [weights, inRun, at('list.csv')];
  const earlier = files.map((file) => readFileSync(file));
  const cpu = ['--device', 'cpu'];
  for (const [given, output] of [
    [weights, weights],
    [weights, link],
    [link, path.join(folder, '.', 'images', '..', 'w.safetensors')],
    [at('run'), inRun],
  ] as const) {
    await refused('classify/fit', given, at('images'), '-o', output, ...cpu);
    await refused('segment/fit', given, at('images'), at('images'), '-o', output, ...cpu);
    await refused('eval/embed', given, at('images'), '-o', output, ...cpu);
    for (const format of ['safetensors', 'pth', 'onnx'])
      await refused('export/export', given, '--format', format, '-o', output);
  }
  const report = ['-o', at('c.safetensors'), '--report', weights];
  await refused('classify/fit', weights, at('images'), ...report, ...cpu);
  await refused('classify/predict', weights, at('list.csv'), '-o', at('list.csv'), ...cpu);
  cpSync(at('images', 'red', 'red 0.png'), at('img.png'));
  await refused('explain/attention', weights, at('img.png'), '-o', folder, ...cpu);
  cpSync(at('img.png'), at('dog.mp4'));
  await refused('explain/video', weights, at('dog.mp4'), '-o', at('dog.mp4'), ...cpu);
  for (const format of ['transformers', 'web'])
    await refused('export/export', at('run'), '--format', format, '-o', at('run'));
  files.forEach((file, i) => assert.deepEqual(readFileSync(file), earlier[i], file));
});
