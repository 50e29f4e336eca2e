import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { VisionTransformer } from '../models/index.js';
import { fileURLToPath } from 'node:url';
import type { MultiCropWrapper } from '../dino/index.js';
import { CheckpointError, ConfigError } from '../errors.js';
import { hashWeight } from '../testing/hash-fill.js';
import { writeTinyRun } from '../testing/saved-run.js';
import { fromTypedArray, noGrad, rand, type Tensor, tensor, zeros } from '../torch/index.js';
import { exportWeights } from './export-weights.js';
import { loadModel } from '../model.js';
import { FileBytes } from '../files/file-bytes.js';
import { PthFile, PthTensor } from './pth.js';
import { writePth, type PthValue } from './pth-write.js';
import { readSafetensors } from './safetensors.js';
import { ZipArchive } from './zip.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-export-'));
const at = (name: string): string => path.join(folder, name);
const run = at('run');
let network: MultiCropWrapper;
before(() => {
  network = writeTinyRun(run);
});
after(() => rmSync(folder, { recursive: true }));

/** Every dtype and kind of value. */
function everything(): Map<string, PthValue> {
  return new Map<string, PthValue>([
    ['f32', fromTypedArray(hashWeight('f32', [2, 3], 1), [2, 3])],
    ['f64', tensor([1.5, -2.25], { dtype: 'float64' })],
    ['f16', tensor([0.5, -65504], { dtype: 'float16' })],
    ['bf16', tensor([0.5, -3], { dtype: 'bfloat16' })],
    ['i64', tensor([2 ** 40, -1], { dtype: 'int64' })],
    ['i32', tensor([7, -8], { dtype: 'int32' })],
    ['u8', tensor([0, 255], { dtype: 'uint8' })],
    ['bool', tensor([true, false], { dtype: 'bool' })],
    ['scalar', tensor(2.5)],
    ['empty', zeros([0, 4])],
    ['transposed', tensor([[1, 2, 3], [4, 5, 6]]).t()], // prettier-ignore
    ['values', [null, true, false, 0, -1, 2 ** 31, -(2 ** 40), 0.1, 'grüß']],
    ['nested', new Map<string, PthValue>([['epoch', 3]])],
  ]);
}

describe('writePth', () => {
  it('reads again what it wrote', () => {
    const value = everything();
    writePth(at('all.pth'), value);
    using file = new PthFile(at('all.pth'));
    const again = file.value as Map<string, unknown>;
    assert.deepEqual([...again.keys()], [...value.keys()]);
    for (const [name, before] of value) {
      const found = again.get(name);
      if (found instanceof PthTensor) {
        const read = file.tensor(found);
        assert.deepEqual(read.shape, (before as Tensor).shape, name);
        assert.equal(read.dtype, (before as Tensor).dtype, name);
        assert.deepEqual(read.toTypedArray(), (before as Tensor).toTypedArray(), name);
      } else assert.deepEqual(found, before);
    }
  });

  it('lays the file out as PyTorch does: stored, aligned, the same bytes each time', () => {
    writePth(at('all.pth'), everything());
    const bytes = readFileSync(at('all.pth'));
    using source = new FileBytes(at('all.pth'));
    const archive = new ZipArchive(source);
    assert.equal(archive.read('archive/version').toString(), '3\n');
    assert.equal(archive.read('archive/byteorder').toString(), 'little');
    for (const { start, method, size } of archive.entries.values()) {
      const data = start + 30 + bytes.readUInt16LE(start + 26) + bytes.readUInt16LE(start + 28);
      assert.equal(data % 64, 0);
      assert.equal(method, 0);
      assert.ok(data + size <= bytes.length);
    }
    // the bytes that PyTorch 2.15 was seen to load
    assert.equal(
      createHash('sha256').update(bytes).digest('hex'),
      'e5be25287d0c5e941ff1e03da0f9d21cfc4dabe706116554f1dad5df01293ccf',
    );
  });

  it('keeps the old file when the new one can not be written', () => {
    writeFileSync(at('kept.pth'), 'old');
    const disposed = tensor([1]);
    disposed.dispose();
    assert.throws(() => writePth(at('kept.pth'), new Map([['a', disposed]])));
    assert.equal(readFileSync(at('kept.pth'), 'utf8'), 'old');
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.includes('partial')),
      [],
    );
    assert.throws(() => writePth(at('no/such/folder.pth'), null), CheckpointError);
    // PyTorch has no class of storages for it
    const uint16 = fromTypedArray(Uint16Array.of(1, 65_535), [2], 'uint16');
    assert.throws(
      () => writePth(at('kept.pth'), new Map([['a', uint16]])),
      (error) =>
        error instanceof CheckpointError && /uint16 can't be written to a \.pth file/.test(error.message),
    );
    assert.equal(readFileSync(at('kept.pth'), 'utf8'), 'old');
  });

  const python = process.env['DINO_TEST_PYTHON'];
  it(
    'is what torch.load(weights_only=True) takes',
    { skip: python === undefined && 'DINO_TEST_PYTHON names no Python with torch' },
    () => {
      writePth(at('all.pth'), everything());
      const program = [
        'import sys, torch',
        'd = torch.load(sys.argv[1], weights_only=True)',
        "assert d['f64'].tolist() == [1.5, -2.25] and d['f16'].tolist() == [0.5, -65504] and d['bf16'].tolist() == [0.5, -3]",
        "assert d['i64'].tolist() == [2**40, -1] and d['i32'].tolist() == [7, -8] and d['u8'].tolist() == [0, 255]",
        "assert d['bool'].tolist() == [True, False] and d['scalar'].item() == 2.5 and d['scalar'].shape == ()",
        "assert d['empty'].shape == (0, 4) and d['transposed'].tolist() == [[1, 4], [2, 5], [3, 6]]",
        "assert d['values'] == [None, True, False, 0, -1, 2**31, -(2**40), 0.1, 'gr\\u00fc\\u00df'] and d['nested'] == {'epoch': 3}",
        "assert d['f32'].dtype == torch.float32 and d['f32'].shape == (2, 3)",
        'mapped = torch.load(sys.argv[1], weights_only=True, mmap=True)',
        "assert torch.equal(mapped['f32'], d['f32'])",
      ].join('\n');
      execFileSync(python!, ['-c', program, at('all.pth')], {
        env: { ...process.env, OMP_NUM_THREADS: '1' },
      });
    },
  );
});

describe('exportWeights', () => {
  const images = (): Tensor => rand([2, 3, 32, 48]);

  for (const format of ['safetensors', 'pth'] as const) {
    it(`writes a backbone and a backbone with its head, ${format}`, () => {
      const lone = at(`lone.${format}`);
      const result = exportWeights(run, { format, output: lone });
      const names = [...network.backbone.stateDict().keys()];
      assert.equal(result.tensors, names.length);
      using model = loadModel(lone, { device: 'cpu', numHeads: 3 });
      const batch = images();
      assert.deepEqual(
        noGrad(() => model.backbone.forward(batch)).toArray(),
        noGrad(() => network.backbone.forward(batch)).toArray(),
      );

      const whole = at(`whole.${format}`);
      exportWeights(run, { format, output: whole, withHead: true, checkpointKey: 'student' });
      const written =
        format === 'pth'
          ? [...(new PthFile(whole).value as Map<string, unknown>).keys()]
          : [...readSafetensors(whole).tensors.keys()];
      assert.deepEqual(written.sort(), [...network.stateDict().keys()].sort());
      // and out of it the backbone again
      exportWeights(whole, { format, output: lone, numHeads: 3 });
      assert.throws(
        () => exportWeights(lone, { format, output: whole, withHead: true, numHeads: 3 }),
        /has no DINO head/,
      );
    });
  }

  it('resizes the position embeddings as the model does', () => {
    const output = at('resized.pth');
    const result = exportWeights(run, { format: 'pth', output, imageSize: 64 });
    assert.equal(result.architecture.imgSize, 64);
    using model = loadModel(output, { device: 'cpu', numHeads: 3 });
    assert.deepEqual((model.backbone as VisionTransformer).pos_embed.shape, [1, 1 + 8 * 8, 24]);
    const batch = rand([1, 3, 64, 64]);
    assert.deepEqual(
      noGrad(() => model.backbone.forward(batch)).toArray(),
      noGrad(() => network.backbone.forward(batch)).toArray(),
    );
    assert.throws(() => exportWeights(run, { format: 'pth', output, imageSize: 60 }), ConfigError);
  });

  it('is a command', () => {
    const cli = (...args: string[]) =>
      spawnSync(process.execPath, [path.join(root, 'bin/dino.js'), 'export', ...args], { encoding: 'utf8' });
    const done = cli(run, '--format', 'pth', '--output', at('cli.pth'), '--with-head', '--json');
    assert.equal(done.status, 0, done.stderr);
    assert.equal((JSON.parse(done.stdout) as { format: string }).format, 'pth');
    assert.ok(existsSync(at('cli.pth')));
    const wrong = cli('--format', 'pht');
    assert.equal(wrong.status, 2);
    assert.match(wrong.stderr, /<weights> is missing[^]*--format is pht, did you mean|--format is pht/);
    assert.match(wrong.stderr, /--output is missing/);
  });
});
