import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CheckpointError } from '../errors.js';
import { arange, fromTypedArray, ones, tensor, type Tensor, zeros } from '../torch/index.js';
import { readSafetensors, readSafetensorsHeader, writeSafetensors } from './safetensors.js';

const official = fileURLToPath(new URL('../../test/fixtures/weights/official.safetensors', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-safetensors-'));
after(() => rmSync(folder, { recursive: true }));
const temporary = (name: string): string => path.join(folder, name);

/** A file from a header (JSON value or text) and a number of data bytes. */
function craft(header: unknown, dataBytes = 0, claimed?: bigint): string {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(claimed ?? BigInt(text.length));
  const file = temporary('crafted.safetensors');
  writeFileSync(file, Buffer.concat([prefix, text, Buffer.alloc(dataBytes)]));
  return file;
}

describe('safetensors', () => {
  it('reads what the official library wrote, every dtype', () => {
    const { tensors, metadata } = readSafetensors(official);
    const get = (name: string): Tensor => tensors.get(name)!;
    assert.deepEqual(metadata, { format: 'pt', note: 'grüß' });
    assert.deepEqual(get('f64').toArray(), [1.5, -2.25, 1e300, 0.1]);
    assert.deepEqual(get('f32').shape, [2, 3]);
    assert.deepEqual(get('f32').toArray(), [0, 0.125, 0.25, 0.375, 0.5, 0.625]);
    assert.deepEqual(get('f16').to('float32').toArray(), [0.5, -1, 65504]);
    assert.equal(get('bf16').dtype, 'bfloat16');
    assert.deepEqual(get('bf16').to('float32').toArray().slice(0, 2), [0.5, -3]);
    assert.deepEqual(get('i64').toTypedArray(), BigInt64Array.of(2n ** 53n + 1n, -1n));
    assert.deepEqual(get('i32').toArray(), [7, -8]);
    assert.deepEqual(get('u8').toArray(), [0, 255, 3]);
    assert.equal(get('bool').dtype, 'bool');
    assert.deepEqual(get('bool').toArray(), [1, 0]);
    assert.deepEqual(get('scalar').shape, []);
    assert.equal(get('scalar').item(), 2.5);
    assert.deepEqual(get('empty').shape, [0, 4]);
  });

  it('reads again what it wrote, with every dtype', () => {
    const { tensors, metadata } = readSafetensors(official);
    const file = temporary('again.safetensors');
    writeSafetensors(file, tensors, metadata);
    const again = readSafetensors(file);
    assert.deepEqual(again.metadata, metadata);
    assert.deepEqual([...again.tensors.keys()].sort(), [...tensors.keys()].sort());
    for (const [name, value] of tensors) {
      assert.equal(again.tensors.get(name)!.dtype, value.dtype);
      assert.deepEqual(again.tensors.get(name)!.toTypedArray(), value.toTypedArray());
    }
    assert.equal(readFileSync(file).readUInt32LE(0) % 8, 0, 'data must begin aligned');
  });

  it('writes and reads uint16, all 16 bits of it', () => {
    const file = temporary('uint16.safetensors');
    const values = Uint16Array.of(0, 255, 256, 65_535);
    writeSafetensors(file, { a: fromTypedArray(values, [2, 2], 'uint16'), b: tensor([1]) });
    const { tensors } = readSafetensors(file);
    assert.deepEqual([tensors.get('a')!.dtype, tensors.get('a')!.shape], ['uint16', [2, 2]]);
    assert.deepEqual(tensors.get('a')!.toTypedArray(), values);
    assert.deepEqual(
      readSafetensorsHeader(file).entries.map(({ dtype, problem }) => [dtype, problem]),
      [['float32', null], ['uint16', null]],
    ); // prettier-ignore
  });

  it('writes views as what they show, and leaves nothing beside', () => {
    const file = temporary('views.safetensors');
    const base = arange(0, 12).reshape([3, 4]);
    writeSafetensors(file, { turned: base.t(), column: base.select(1, 2), grad: ones([2], {}) });
    const { tensors } = readSafetensors(file);
    assert.deepEqual(tensors.get('turned')!.toArray(), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
    assert.deepEqual(tensors.get('column')!.toArray(), [2, 6, 10]);
    assert.deepEqual(
      base.toArray(),
      Array.from({ length: 12 }, (_, i) => i),
      'the source is alive',
    );
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.includes('partial')),
      [],
    );
  });

  it('shares one buffer among the tensors of a file', () => {
    const file = temporary('shared.safetensors');
    writeSafetensors(file, { a: zeros([4]), b: zeros([4]) });
    const { tensors } = readSafetensors(file);
    tensors.get('a')!.dispose();
    assert.deepEqual(tensors.get('b')!.toArray(), [0, 0, 0, 0]);
  });

  it('survives names that are special to JavaScript', () => {
    const file = temporary('names.safetensors');
    writeSafetensors(
      file,
      new Map([
        ['__proto__', tensor([1])],
        ['constructor', tensor([2])],
        ['a "b" \n', tensor([3])],
      ]),
    );
    const { tensors } = readSafetensors(file);
    assert.deepEqual([...tensors.keys()].sort(), ['__proto__', 'a "b" \n', 'constructor']);
    assert.equal(Object.getPrototypeOf({}), Object.prototype);
  });

  it('refuses files that lie', () => {
    const entry = (begin: number, end: number, shape: unknown = [1], dtype = 'F32') => ({
      dtype,
      shape,
      data_offsets: [begin, end],
    });
    const cases: [header: unknown, dataBytes: number, RegExp, claimed?: bigint][] = [
      [{}, 0, /claims/, 2n ** 63n],
      [{}, 0, /claims 2147483648 bytes/, 2n ** 31n],
      [{}, 0, /claims/, 10n],
      ['[]', 0, /not an object/],
      ['{"a":', 0, /not JSON/],
      [{ a: 1 }, 0, /entry of a/],
      [{ a: entry(0, 8) }, 8, /lies at 0 to 8/],
      [{ a: entry(0, 4) }, 3, /lies at/],
      [{ a: entry(4, 0) }, 4, /lies at/],
      [{ a: entry(-4, 0) }, 4, /data_offsets/],
      [{ a: entry(0, 4, [-1]) }, 4, /shape/],
      [{ a: entry(0, 4, [0.5, 2]) }, 4, /shape/],
      [{ a: entry(0, 4, [2 ** 52, 2 ** 52]) }, 4, /lies at/],
      [{ a: entry(0, 4), b: entry(0, 4) }, 4, /hole or overlap/],
      [{ a: entry(4, 8) }, 8, /hole or overlap/],
      [{ a: entry(0, 4) }, 8, /4 bytes at the end/],
      [{ a: entry(0, 1, [1], 'F8_E4M3') }, 1, /a is float8_e4m3fn; supported are/],
      [{ __metadata__: { a: 1 } }, 0, /metadata a/],
    ];
    for (const [header, bytes, pattern, claimed] of cases) {
      assert.throws(
        () => readSafetensors(craft(header, bytes, claimed)),
        (error) => {
          assert.ok(error instanceof CheckpointError);
          assert.match(error.message, pattern);
          return true;
        },
      );
    }
    const cut = craft({ a: entry(0, 4), b: entry(4, 12, [2]) }, 10);
    assert.throws(
      () => readSafetensors(cut),
      /lies at 4 to 12 of 10: the file ends too early\. Is the download complete\?/,
    );
    // with the wrong number of bytes, it is damaged in another way
    const wrong = craft({ a: entry(0, 8) }, 8);
    assert.throws(
      () => readSafetensors(wrong),
      (error) => !/too early/.test((error as Error).message),
    );
    writeFileSync(temporary('short'), 'abc');
    assert.throws(() => readSafetensorsHeader(temporary('short')), /it has 3 bytes/);
    assert.throws(() => readSafetensors(temporary('absent')), CheckpointError);
  });

  it('keeps the old file when it can not write the new one', () => {
    const file = temporary('kept.safetensors');
    writeSafetensors(file, { a: tensor([1]) });
    const disposed = tensor([2]);
    const broken = tensor([3]);
    broken.dispose();
    assert.throws(() => writeSafetensors(file, { a: disposed, b: broken }));
    assert.equal(readSafetensors(file).tensors.get('a')!.item(), 1);
    assert.throws(
      () => writeSafetensors(temporary('no/such/folder.safetensors'), { a: disposed }),
      CheckpointError,
    );
    assert.ok(!existsSync(temporary('no')));
  });
});
