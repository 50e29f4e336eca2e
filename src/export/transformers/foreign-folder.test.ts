/** What a transformers export may replace in a folder: an export of ours, and nothing of anybody else's. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ConfigError, DinoError } from '../../errors.js';
import { loadModel, type Model } from '../../model.js';
import { writeTinyRun } from '../../testing/saved-run.js';
import { exportTransformers } from './export-transformers.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-transformers-foreign-'));
const run = path.join(folder, 'run');
const checkpoint = path.join(run, 'checkpoints', 'step-00000012');
let model: Model;
before(() => {
  writeTinyRun(run).dispose();
  model = loadModel(run, { device: 'cpu' });
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

/** Every file below a folder with its bytes, links as what they name. */
const contents = (place: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(place, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => {
        const file = path.join(entry.parentPath, entry.name);
        const content = entry.isSymbolicLink() ? `-> ${readlinkSync(file)}` : readFileSync(file, 'latin1');
        return [path.relative(place, file), content];
      }),
  );

const place = (name: string, files: Readonly<Record<string, string>> = {}): string => {
  const made = path.join(folder, name);
  mkdirSync(made);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(made, file)), { recursive: true });
    writeFileSync(path.join(made, file), text);
  }
  return made;
};

function refused(at: string, message: RegExp, options = {}): void {
  const before = contents(at);
  assert.throws(
    () => exportTransformers(model, at, options),
    (error) => error instanceof DinoError && message.test(error.message),
  );
  assert.deepEqual(contents(at), before);
}

it('leaves a run folder as it is, whichever of its weights are exported', () => {
  const before = contents(run);
  for (const weights of [run, checkpoint]) {
    const args = [bin, 'export', weights, '--format', 'transformers', '-o', run];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    assert.notEqual(status, 0);
    assert.match(stderr, weights === run ? /is read here/ : /is a run's folder.*run-2 is not taken/s);
    assert.deepEqual(contents(run), before);
  }
});

it("leaves somebody else's files as they are, and names them", () => {
  const theirs = '{"model_type": "vit", "hidden_size": 384}\n';
  refused(place('config', { 'config.json': theirs }), /config\.json is not of an earlier export/);
  refused(place('app', { 'config.json': '[]' }), /config\.json is not of an earlier export/);
  refused(place('text', { 'config.json': 'port = 80' }), /config\.json is not of an earlier export/);
  refused(
    place('both', { 'preprocessor_config.json': theirs, 'onnx/model.onnx': 'theirs' }),
    /preprocessor_config\.json, .*model\.onnx are not of an earlier export.*both-2 is not taken/,
  );
  const quantized = place('quantized', { 'onnx/model_quantized.onnx': 'theirs' });
  refused(quantized, /model_quantized\.onnx is not/);
  refused(quantized, /model_quantized\.onnx is not/, { quantized: false }); // which would delete it
  const empty = place('empty', { 'config.json': '' });
  refused(empty, /config\.json is not/);
  const aFolder = place('a-folder', { 'config.json/notes.txt': 'notes' });
  refused(aFolder, /config\.json is not/);
  const inTheWay = place('in-the-way', { onnx: 'a file' });
  refused(inTheWay, /onnx/);
});

it('writes and deletes nothing through a link in the folder', () => {
  const outside = place('outside', { 'model.onnx': 'theirs' });
  const linked = place('linked');
  symlinkSync(outside, path.join(linked, 'onnx'));
  refused(linked, /onnx is a symbolic link/);
  assert.deepEqual(contents(outside), { 'model.onnx': 'theirs' });
  const cached = place('cached');
  symlinkSync(path.join(run, 'config.json'), path.join(cached, 'config.json')); // as in Hugging Face's cache
  refused(cached, /config\.json is not/);
});

it('never replaces a file that the weights were read from', () => {
  const at = path.join(folder, 'weights-within');
  exportTransformers(model, at);
  const weights = path.join(at, 'onnx', 'model.onnx');
  copyFileSync(path.join(checkpoint, 'teacher.safetensors'), weights);
  using own = loadModel(weights, { device: 'cpu' });
  const before = contents(at);
  assert.throws(() => exportTransformers(own, at), ConfigError);
  assert.deepEqual(contents(at), before);
});

it('replaces an earlier export, also one that broke off, and keeps other files', () => {
  const at = place('again', { 'notes.txt': 'mine' });
  const first = exportTransformers(model, at);
  const before = contents(at);
  rmSync(path.join(at, 'config.json'));
  rmSync(path.join(at, 'preprocessor_config.json'));
  assert.deepEqual(exportTransformers(model, at), first);
  assert.deepEqual(contents(at), before);
  const { crop } = exportTransformers(model, at, { imageSize: 48, quantized: false });
  assert.equal(crop, 48);
  assert.match(readFileSync(path.join(at, 'config.json'), 'utf8'), /"image_size": 48/);
  assert.ok(!existsSync(path.join(at, 'onnx', 'model_quantized.onnx')));
  assert.equal(readFileSync(path.join(at, 'notes.txt'), 'utf8'), 'mine');
});
