import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { deflateRawSync } from 'node:zlib';
import { CheckpointError } from '../errors.js';
import {
  global,
  int,
  ops,
  tensorOps,
  type TensorParts,
  text,
  torchFile,
  tuple,
  zip,
} from '../testing/pickle-ops.js';
import { zeros } from '../torch/index.js';
import { PickleNamespace } from './pickle-values.js';
import { PthFile, PthTensor } from './pth.js';
import { filePrefix, writeSafetensors } from './safetensors.js';
import { openWeights } from './weights-file.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const fixture = (name: string): string => path.join(root, 'test/fixtures/weights', name);
const data = process.env['DINO_TEST_DATA'] ?? path.join(root, '../shared/data');
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-pth-'));
after(() => rmSync(folder, { recursive: true }));
const written = (bytes: Uint8Array): string => {
  const file = path.join(folder, 'crafted.pth');
  writeFileSync(file, bytes);
  return file;
};

const numbers = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

function refused(
  name: string,
  bytes: Uint8Array,
  pattern: RegExp,
  use: (file: PthFile) => unknown = () => null,
): void {
  assert.throws(
    () => {
      using file = new PthFile(written(bytes));
      use(file);
    },
    (error) => {
      assert.ok(error instanceof CheckpointError, `${name}: ${String(error)}`);
      assert.match(error.message, pattern, name);
      return true;
    },
    name,
  );
}

describe('PthFile', () => {
  for (const format of ['zip', 'legacy'] as const) {
    it(`reads tensors that PyTorch wrote, ${format} format`, () => {
      using file = new PthFile(fixture(format === 'zip' ? 'tensors.pth' : 'legacy.pth'));
      assert.equal(file.format, format);
      const tensors = file.value as Map<string, PthTensor>;
      const read = (name: string) => file.tensor(tensors.get(name)!);
      assert.deepEqual(read('f32').shape, [4, 6]);
      assert.deepEqual(read('f32').toArray(), numbers(24));
      assert.deepEqual(read('f64').toArray(), [1.5, 1e300]);
      assert.equal(read('f16').dtype, 'float16');
      assert.deepEqual(read('f16').toArray(), [0.5, -65504]);
      assert.equal(read('bf16').dtype, 'bfloat16');
      assert.deepEqual(read('bf16').toArray(), [0.5, -3]);
      assert.deepEqual(read('i64').toTypedArray(), BigInt64Array.of(2n ** 53n + 1n, -1n));
      assert.deepEqual(read('i32').toArray(), [7, -8]);
      assert.deepEqual(read('u8').toArray(), [0, 255]);
      assert.equal(read('bool').dtype, 'bool');
      assert.deepEqual(read('bool').toArray(), [1, 0]);
      assert.deepEqual(read('scalar').shape, []);
      assert.equal(read('scalar').item(), 2.5);
      assert.deepEqual(read('empty').shape, [0, 4]);
      assert.deepEqual(read('transposed').shape, [3, 2]);
      assert.deepEqual(read('transposed').toArray(), [0, 3, 1, 4, 2, 5]);
      assert.ok(read('transposed').isContiguous);
      assert.deepEqual(read('channels_last').shape, [1, 2, 3, 4]);
      assert.deepEqual(read('channels_last').toArray(), numbers(24));
      assert.deepEqual(read('parameter').toArray(), [1, 2]);
      assert.deepEqual(read('every_second').toArray(), [0, 2, 4, 6, 8]);
      const tied = read('tied');
      tied.fill_(7);
      assert.deepEqual(read('view').toArray(), [7, 7, 7], 'tied tensors share memory');
      assert.throws(() => read('i16'), /is int16; supported are/);
    });
  }

  it('reads an archive with the fields of one over 4 GiB', () => {
    using file = new PthFile(fixture('zip64.pth'));
    const tensors = file.value as Map<string, PthTensor>;
    assert.deepEqual(file.tensor(tensors.get('f32')!).toArray(), numbers(24));
    assert.deepEqual(file.tensor(tensors.get('transposed')!).toArray(), [0, 3, 1, 4, 2, 5]);
  });

  it('reads a full checkpoint of the reference: networks, optimizer, settings', () => {
    using file = new PthFile(fixture('checkpoint.pth'));
    const value = file.value as Map<string, unknown>;
    assert.deepEqual([...value.keys()], ['student', 'teacher', 'optimizer', 'epoch', 'args', 'dino_loss']);
    const teacher = value.get('teacher') as Map<string, PthTensor>;
    assert.deepEqual(file.tensor(teacher.get('backbone.0.bias')!).toArray().length, 2);
    const args = value.get('args');
    assert.ok(args instanceof PickleNamespace);
    assert.equal(args.entries.get('output_dir'), '/runs/a');
    const optimizer = value.get('optimizer') as Map<string, Map<number, Map<string, PthTensor>>>;
    assert.equal(file.tensor(optimizer.get('state')!.get(0)!.get('step')!).item(), 1);
    const groups = optimizer.get('param_groups') as unknown as Map<string, unknown>[];
    assert.equal(groups[0]?.get('lr'), 0.001, "numpy's number is a number");
    assert.equal(value.get('epoch'), 3);
  });

  const others = path.join(data, 'torch-files');
  it(
    'reads files of other people, and says what a TorchScript archive is',
    { skip: !existsSync(others) && 'no test data' },
    () => {
      using one = new PthFile(path.join(others, 'tiny_state_dict_with_one_key.pt'));
      const key = (one.value as Map<string, PthTensor>).get('test_key')!;
      assert.ok(Math.abs(one.tensor(key).toArray()[0]! - 1.3561258) < 1e-6);
      using fair = new PthFile(path.join(others, 'tiny_fair_checkpoint.pt'));
      for (const tensor of (fair.value as Map<string, PthTensor>).values()) {
        if (tensor instanceof PthTensor)
          assert.ok(
            fair
              .tensor(tensor)
              .toArray()
              .every((x) => Math.abs(x - 0.2) < 1e-6),
          );
      }
      for (const name of ['foo.pt', 'foo1.pt', 'foo7.pt'])
        assert.throws(() => new PthFile(path.join(others, name)), /TorchScript archive.*state_dict\(\)/s);
    },
  );

  it('refuses tensors that their storage can not hold', () => {
    const file = (parts: TensorParts, bytes = 4 * (parts.length ?? parts.shape.reduce((a, b) => a * b, 1))) =>
      torchFile(Buffer.concat([ops(tensorOps(parts))]), { 0: Buffer.alloc(bytes) });
    refused(
      'shape over the storage',
      file({ shape: [3, 4], length: 11 }),
      /reaches element 11 of a storage of 11/,
    );
    refused('offset', file({ shape: [4], length: 4, offset: 1 }), /reaches element 4/);
    refused('negative offset', file({ shape: [4], length: 4, offset: -1 }), /at a place -1/);
    refused('negative stride', file({ shape: [4], strides: [-1] }), /without valid strides/);
    refused('negative size', file({ shape: [-1], length: 4 }), /without a valid shape/);
    refused('too few strides', file({ shape: [2, 2], strides: [1] }), /without valid strides/);
    refused(
      'stride 0 as a bomb',
      file({ shape: [1 << 20, 1 << 20], strides: [0, 0], length: 4 }),
      /more memory than the file/,
      (opened) => opened.tensor(opened.value as PthTensor),
    );
    refused(
      'sizes that overflow',
      file({ shape: [2 ** 40, 2 ** 40], strides: [0, 0], length: 4 }),
      /valid shape/,
    );
    refused('huge stride', file({ shape: [2], strides: [2 ** 52], length: 4 }), /reaches element/);
    refused('storage shorter than said', file({ shape: [4] }, 8), /16 bytes, but the file has 8/);
    refused('storage longer than said', file({ shape: [4] }, 32), /16 bytes, but the file has 32/);
    refused('storage missing', torchFile(ops(tensorOps({ shape: [4] }))), /storage 0 is missing/);
    refused('key that leads out', file({ shape: [4], key: '../0' }), /not a storage/);
    refused(
      'other class',
      file({ shape: [4], storage: 'Tensor' }),
      /of an unknown kind: torch\.Tensor/,
      (opened) => opened.tensor(opened.value as PthTensor),
    );
    refused(
      'views that add up',
      torchFile(
        ops(
          '](',
          ...Array.from({ length: 3 }, () => tensorOps({ shape: [512, 512], strides: [1, 512] })),
          'e',
        ),
        { 0: Buffer.alloc(4 * 512 * 512) },
      ),
      /more memory than the file/,
      (opened) => (opened.value as PthTensor[]).map((tensor) => opened.tensor(tensor)),
    );
    refused(
      'a call in a tensor',
      torchFile(
        ops(
          global('torch._utils', '_rebuild_tensor_v2'),
          '(',
          global('os', 'system'),
          '(',
          text('x'),
          'tR',
          'tR',
        ),
      ),
      /a tensor without a storage/,
    );
    refused(
      'a sparse one',
      torchFile(ops(global('torch._utils', '_rebuild_sparse_tensor'), ')R')),
      /is sparse/,
      (opened) => opened.tensor(opened.value as PthTensor),
    );
    refused(
      'no storage',
      torchFile(ops(global('torch._utils', '_rebuild_tensor_v2'), '(N', int(0), tuple(1), tuple(1), 'tR')),
      /without a storage/,
    );
  });

  it("refuses tensors' names of more than 4,096 characters, whatever they are made of", () => {
    const open = (name: string, bytes: Uint8Array): void => {
      const file = path.join(folder, name);
      writeFileSync(file, bytes);
      openWeights(file)[Symbol.dispose]();
    };
    const tensor = tensorOps({ shape: [1] });
    const asPth = (...names: string[]): Buffer => {
      const [last = '', ...dicts] = [...names].reverse();
      const inner = dicts.reduce<Buffer>(
        (value, name) => Buffer.concat([Buffer.from('}('), text(name), value, Buffer.from('u')]),
        Buffer.concat([Buffer.from('}('), text(last), tensor, Buffer.from('u')]),
      );
      return torchFile(ops(inner), { 0: Buffer.alloc(4) });
    };
    const asSafetensors = (name: string): Buffer => {
      const entry = { dtype: 'F32', shape: [1], data_offsets: [0, 4] };
      return Buffer.concat([filePrefix(new Map([[name, entry]])), Buffer.alloc(4)]);
    };
    const tooLong =
      (length: number): ((error: unknown) => boolean) =>
      (error) =>
        error instanceof CheckpointError &&
        error.message.includes(`a tensor's name has ${length} characters; at most 4096 are read`) &&
        error.message.length < 300;
    for (const fill of ['x', 'x.', 'head_', '\x1b']) {
      const long = fill.repeat(100_000);
      assert.throws(() => open('long.pth', asPth(long)), tooLong(long.length), fill);
      assert.throws(() => open('long.safetensors', asSafetensors(long)), tooLong(long.length), fill);
    }
    const half = 'y'.repeat(2048); // with the dot between them, one too many
    assert.throws(() => open('long.pth', asPth(half, half)), tooLong(4097));
    assert.throws(() => open('long.safetensors', asSafetensors(`${half}.${half}`)), tooLong(4097));
    open('longest.pth', asPth(half, half.slice(1)));
    open('longest.safetensors', asSafetensors('x'.repeat(4096)));
    // a long key of something else is no name
    const other = ops('}(', text('x'.repeat(100_000)), int(1), text('w'), tensor, 'u');
    open('other.pth', torchFile(other, { 0: Buffer.alloc(4) }));
    assert.throws(
      () => writeSafetensors(path.join(folder, 'never.safetensors'), { ['x'.repeat(4097)]: zeros([1]) }),
      tooLong(4097),
    );
    assert.ok(!existsSync(path.join(folder, 'never.safetensors')));
  });

  it('refuses zip files that lie', () => {
    const good = { 'archive/data.pkl': ops('N') };
    for (const name of ['/etc/passwd', '../x', 'a/../../x', 'C:/x', 'a\\..\\x', 'a\0b'])
      refused(name, zip({ ...good, [name]: 'x' }), /leads out of the archive/);
    refused(
      'no data.pkl',
      zip({ 'archive/other': 'x' }),
      /a zip file with something else in it \(archive\/other\), not a PyTorch file: it has 0 data\.pkl/,
    );
    refused('two of them', zip({ ...good, 'b/data.pkl': 'x' }), /it has 2 data\.pkl/);
    refused('TorchScript', zip({ ...good, 'archive/constants.pkl': 'x' }), /TorchScript/);
    refused('big-endian', zip({ ...good, 'archive/byteorder': 'big' }), /big-endian/);

    const bytes = zip(good);
    const directory = bytes.indexOf('PK\x01\x02');
    const end = bytes.length - 22;
    const changed = (change: (copy: Buffer) => void): Buffer => {
      const copy = Buffer.from(bytes);
      change(copy);
      return copy;
    };
    refused('cut off', bytes.subarray(0, -1), /no directory at its end/);
    refused(
      'compressed',
      changed((b) => b.writeUInt16LE(8, directory + 10)),
      /is compressed/,
    );
    refused(
      'encrypted',
      changed((b) => b.writeUInt16LE(1, directory + 8)),
      /is encrypted/,
    );
    refused(
      'damaged',
      changed((b) => b.write('X', directory - 2)),
      /is damaged: its checksum/,
    );
    refused(
      'data beyond the end',
      changed((b) => b.writeUInt32LE(2 ** 31, directory + 20)),
      /beyond the end|but has/,
    );
    refused(
      'stored and size differ',
      changed((b) => b.writeUInt32LE(2 ** 31, directory + 24)),
      /is stored in/,
    );
    refused(
      'header elsewhere',
      changed((b) => b.writeUInt32LE(1, directory + 42)),
      /beyond the end|has no header/,
    );
    refused(
      'many entries',
      changed((b) => b.writeUInt16LE(60_000, end + 10)),
      /can't hold 60000 entries/,
    );
    refused(
      'directory elsewhere',
      changed((b) => b.writeUInt32LE(2 ** 30, end + 16)),
      /beyond/,
    );
    refused(
      'several parts',
      changed((b) => b.writeUInt16LE(1, end + 4)),
      /several parts/,
    );
    refused(
      'other name inside',
      changed((b) => b.write('X', 30)),
      /calls itself/,
    );
    const locator = Buffer.alloc(20);
    locator.writeUInt32LE(0x07064b50);
    locator.writeBigUInt64LE(2n ** 62n, 8);
    refused(
      'zip64 record elsewhere',
      Buffer.concat([bytes.subarray(0, end), locator, bytes.subarray(end)]),
      /zip64 record lies at/,
    );

    // a bomb of the overlapping kind: two names for the same data
    const twice = Buffer.concat([bytes.subarray(0, end), bytes.subarray(directory)]);
    twice[end + 46 + 1] = 0x42; // its name differs
    twice.writeUInt16LE(2, twice.length - 12);
    twice.writeUInt32LE(2 * (end - directory), twice.length - 10);
    refused('overlap', twice, /overlap/);
    // a bomb of the usual kind
    const squeezed = deflateRawSync(Buffer.alloc(100_000_000));
    const bomb = zip({ 'archive/data.pkl': squeezed });
    const entry = bomb.indexOf('PK\x01\x02');
    bomb.writeUInt16LE(8, entry + 10);
    bomb.writeUInt32LE(100_000_000, entry + 24);
    const before = process.memoryUsage().rss;
    refused('bomb', bomb, /is compressed/);
    assert.ok(process.memoryUsage().rss - before < 50_000_000);
  });

  it('refuses other files, and legacy ones that lie', () => {
    refused('empty', Buffer.alloc(0), /not a PyTorch file: it is empty/);
    refused('text', Buffer.from('<html>not found</html>'), /not a PyTorch file: it is an HTML page/);
    refused('a pickle of something else', ops('N'), /it is a pickle that torch\.save did not write/);
    assert.throws(() => new PthFile(path.join(folder, 'absent.pth')), /can't be opened/);
    assert.throws(() => new PthFile(folder), /expected a regular file, but it is a folder/);
    const legacy = readFileSync(fixture('legacy.pth'));
    refused('cut off', legacy.subarray(0, -4), /ends before its storages do/);
    refused(
      'another protocol',
      Buffer.concat([legacy.subarray(0, 15), ops(int(7)), legacy.subarray(15)]),
      /protocol/,
    );
  });
});
