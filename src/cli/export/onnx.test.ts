/** `dino export --format onnx|transformers` as a user runs it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TINY, writeMassive, writeTinyRun } from '../../testing/saved-run.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-export-onnx-'));
const run = path.join(folder, 'run');
before(() => writeTinyRun(run).dispose());
after(() => rmSync(folder, { recursive: true }));

function exported(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, 'export', run, ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

interface Result {
  inputs: Record<string, unknown>;
  outputs: Record<string, unknown>;
  check: { differences: Record<string, number> };
  quantizedCheck?: { cosine: number };
  resize?: number;
}

it('writes ONNX of any size with attention, and checks it', () => {
  const output = path.join(folder, 'deep', 'model.onnx');
  const { status, stdout, stderr } = exported(
    ...['--format', 'onnx', '--output', output, '--dynamic-size', '--attention', '--json'],
  );
  assert.equal(status, 0, stderr);
  const { inputs, outputs, check } = JSON.parse(stdout) as Result;
  assert.deepEqual(inputs, { pixel_values: ['batch', 3, 'height', 'width'] });
  assert.deepEqual(outputs['class_token'], ['batch', TINY.embedDim]);
  assert.deepEqual(outputs['attention'], ['batch', TINY.numHeads, 'tokens', 'tokens']);
  assert.ok(Math.max(...Object.values(check.differences)) < 1e-4);
  assert.ok(existsSync(output));
});

it('writes ONNX of one size, given in either spelling', () => {
  const output = path.join(folder, 'model.onnx');
  const { status, stdout, stderr } = exported('--format', 'onnx', '-o', output, '--size', '40,64');
  assert.equal(status, 0, stderr);
  assert.match(stdout, /batch x 3 x 40 x 64 to class_token, patch_tokens\nchecked in onnxruntime: off by \d/);
});

it('writes a folder for transformers.js', () => {
  const output = path.join(folder, 'served');
  const { status, stdout, stderr } = exported('--format', 'transformers', '-o', output, '--json');
  assert.equal(status, 0, stderr);
  const { check, quantizedCheck, resize } = JSON.parse(stdout) as Result;
  assert.equal(resize, 36); // 256/224 of 32, the margin even
  assert.ok(Math.max(...Object.values(check.differences)) < 1e-4);
  assert.ok(quantizedCheck!.cosine > 0.98, String(quantizedCheck!.cosine));
  const config = JSON.parse(readFileSync(path.join(output, 'config.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  assert.equal(config['model_type'], 'vit');
  assert.equal(config['hidden_size'], TINY.embedDim);
});

it('leaves out an 8-bit file that is far from the model, and finishes', () => {
  const weights = path.join(folder, 'massive.pth');
  writeMassive(weights);
  const output = path.join(folder, 'massive');
  const args = ['export', weights, '--format', 'transformers', '-o', output, '--json'];
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  assert.match(
    stderr,
    /warning: 8-bit weights change this model's features too much \(cosine similarity 0\.\d\d.*\): .*model\.onnx/,
  );
  assert.doesNotMatch(stderr, /internal|report it/);
  const { files, check, quantizedCheck } = JSON.parse(stdout) as Result & { files: Record<string, number> };
  assert.ok(Math.max(...Object.values(check.differences)) < 1e-2);
  assert.ok(quantizedCheck!.cosine < 0.9);
  assert.deepEqual(readdirSync(path.join(output, 'onnx')), ['model.onnx']);
  assert.ok(!('onnx/model_quantized.onnx' in files));
});

it('names every flag that a format does not take', () => {
  const output = path.join(folder, 'none');
  const onnx = exported(
    '--format',
    'onnx',
    '-o',
    output,
    '--dynamic-size',
    '--image-size',
    '7,0',
    '--with-head',
  );
  assert.equal(onnx.status, 2);
  for (const flag of ['--dynamic-size', '--image-size is 7,0', '--with-head']) {
    assert.ok(onnx.stderr.includes(flag), onnx.stderr);
  }
  const served = exported('--format', 'transformers', '-o', output, '--attention', '--image-size', '32,40');
  assert.equal(served.status, 2);
  assert.match(served.stderr, /--image-size takes one number[\s\S]*--attention: only --format onnx/);
  const weights = exported('--format', 'pth', '-o', output, '--dynamic-size');
  assert.equal(weights.status, 2);
  assert.match(weights.stderr, /--dynamic-size: only ONNX files have that/);
  assert.ok(!existsSync(output));
});
