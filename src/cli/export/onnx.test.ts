/** `dino export --format onnx|transformers` as a user runs it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { modelCard } from '../../export/model-card.js';
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

describe('a card says which images the written file takes', () => {
  /** Exports with a card. @returns The folder and the card. */
  function carded(name: string, format: string, file: string, ...flags: string[]) {
    const place = path.join(folder, name);
    const output = file === '' ? place : path.join(place, file);
    const { status, stderr } = exported('--format', format, '-o', output, '--card', ...flags);
    assert.equal(status, 0, stderr);
    return { place, output, card: readFileSync(path.join(place, 'README.md'), 'utf8') };
  }
  /** Runs the card's own call with zeros of the shape that it names. */
  async function runSample(file: string, card: string): Promise<void> {
    const [, shape = ''] = /new Tensor\('float32', pixels, (\[[\d, ]+\])\)/.exec(card) ?? [];
    const dims = JSON.parse(shape) as number[];
    const session = await InferenceSession.create(file, { logSeverityLevel: 3 });
    const pixels = new Float32Array(dims.reduce((a, b) => a * b, 1));
    const outputs = await session.run({ pixel_values: new Tensor('float32', pixels, dims) });
    assert.deepEqual(outputs['class_token']!.dims, [1, TINY.embedDim]);
    await session.release();
  }

  it('ONNX of one size, square or not, and of any', async () => {
    const own = carded('card-own', 'onnx', 'a.onnx');
    assert.match(
      own.card,
      /shorter side of 37, and cut to the central 32 x 32; the file takes no other size/,
    );
    await runSample(own.output, own.card);
    const square = carded('card-48', 'onnx', 'a.onnx', '--image-size', '48');
    assert.match(square.card, /shorter side of 55, and cut to the central 48 x 48; the file takes no other/);
    assert.doesNotMatch(square.card, /32 x 32/);
    await runSample(square.output, square.card);
    const wide = carded('card-wide', 'onnx', 'a.onnx', '--image-size', '40,64');
    assert.match(wide.card, /resized to cover 40 x 64 \(height x width\).*; the file takes no other size/);
    await runSample(wide.output, wide.card);
    const any = carded('card-any', 'onnx', 'a.onnx', '--dynamic-size');
    assert.match(any.card, /shorter side of 37, and cut to the central 32 x 32; other sizes work too/);
    await runSample(any.output, any.card);
  });

  it('a folder for transformers, as its preprocessor_config.json has it', () => {
    for (const flags of [[], ['--image-size', '48', '--dynamic-size']]) {
      const { place, card } = carded(`card-served-${flags.length}`, 'transformers', '', ...flags);
      const { size, crop_size: crop } = JSON.parse(
        readFileSync(path.join(place, 'preprocessor_config.json'), 'utf8'),
      ) as { size: { shortest_edge: number }; crop_size: { height: number } };
      const others = flags.includes('--dynamic-size') ? 'other sizes work too' : 'the file takes no other';
      const sizes = `shorter side of ${size.shortest_edge}, and cut to the central ${crop.height} x ${crop.height}; ${others}`;
      assert.ok(card.includes(sizes), `${sizes}\n${card}`);
    }
  });

  it('weights whose position embeddings were moved', () => {
    const { card, output } = carded('card-weights', 'safetensors', 'a.safetensors', '--image-size', '48');
    const [, sizes] = /images \| (.*?) \|/.exec(card) ?? [];
    assert.equal(
      sizes,
      'resized to a shorter side of 55, and cut to the central 48 x 48; other sizes work too',
    );
    assert.ok(modelCard(output).includes(sizes), 'as the written file says itself');
  });
});
