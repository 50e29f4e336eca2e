import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CheckpointError } from '../errors.js';
import { global, int, ops, text, tuple } from '../testing/pickle-ops.js';
import { readPickle } from './pickle.js';
import { NumpyArray, PickleNamespace } from './pickle-values.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const data = process.env['DINO_TEST_DATA'] ?? path.join(root, '../shared/data');
const pickles = new Map(
  Object.entries(
    JSON.parse(readFileSync(path.join(root, 'test/fixtures/weights/pickles.json'), 'utf8')) as Record<
      string,
      string
    >,
  ).map(([name, base64]) => [name, Buffer.from(base64, 'base64')]),
);

/** Arrays and namespaces as plain values, for comparison. */
function plain(value: unknown): unknown {
  if (value instanceof NumpyArray) return { dtype: value.dtype, shape: value.shape, items: value.toArray() };
  if (value instanceof PickleNamespace) return { namespace: plain(value.entries) };
  if (value instanceof Map) return new Map([...value].map(([key, entry]) => [plain(key), plain(entry)]));
  if (value instanceof Uint8Array) return [...value];
  return Array.isArray(value) ? value.map(plain) : value;
}

describe('readPickle', () => {
  for (const protocol of [0, 1, 2, 3, 4, 5]) {
    it(`reads what Python writes with protocol ${protocol}`, () => {
      const value = readPickle(pickles.get(`protocol ${protocol}`)!, 'file') as Map<unknown, unknown>;
      const get = (name: string): unknown => plain(value.get(name));
      assert.equal(get('none'), null);
      assert.deepEqual(get('flags'), [true, false]);
      const large = [2n ** 70n, -(2n ** 70n)];
      assert.deepEqual(get('numbers'), [
        0,
        1,
        -1,
        255,
        256,
        65536,
        -(2 ** 31),
        2 ** 40,
        ...large,
        0.1,
        -1e300,
        Infinity,
      ]);
      assert.equal(get('text'), "grüß \\ 'x' \n \u{1f996}");
      assert.deepEqual(get('bytes'), [0, 255, 10]);
      assert.deepEqual(get('tuples'), [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4]]);
      assert.deepEqual(get('sets'), [new Set([1]), new Set(['x'])]);
      assert.deepEqual(
        [...(get('ordered') as Map<string, number>)],
        [
          ['b', 1],
          ['a', 2],
        ],
      );
      assert.deepEqual(get('namespace'), {
        namespace: new Map<string, unknown>([
          ['arch', 'vit_small'],
          ['lr', 0.0005],
          ['scale', [0.4, 1]],
          ['out', '/a/b'],
        ]),
      });
      const [first, second] = value.get('shared') as [unknown, unknown];
      assert.equal(first, second, 'what was one object is one');
      assert.deepEqual(
        [...value.keys()].filter((key) => Array.isArray(key)),
        [['tuple', 1]],
      );
      assert.deepEqual(get('arrays'), [
        { dtype: 'f8', shape: [2, 2], items: [1.5, 2.5, 3.5, 4.5] },
        { dtype: 'i4', shape: [2, 3], items: [0, 1, 2, 3, 4, 5] },
        { dtype: 'i2', shape: [2], items: [1, -2] },
        { dtype: 'b1', shape: [2], items: [true, false] },
        { dtype: 'U2', shape: [2], items: ['ab', 'c'] },
        { dtype: 'S2', shape: [2], items: ['xy', 'z'] },
        { dtype: 'f2', shape: [2], items: [1.5, -65504] },
        { dtype: 'u8', shape: [2], items: [2n ** 60n, 1] },
        { dtype: 'O', shape: [2], items: ['any', 1] },
        { dtype: 'u1', shape: [], items: [7] },
      ]);
      assert.deepEqual(get('scalars'), [0.25, -3, 0.5, true]);
    });
  }

  it('reads what Python 2 wrote', () => {
    const value = readPickle(pickles.get('python 2 text')!, 'file');
    const latin1 = Buffer.from('naïve\n').toString('latin1');
    assert.deepEqual(
      [...(value as Map<unknown, unknown>)],
      [
        [latin1, true],
        ['n', 12345678901234567890n],
        ['ué', -1500],
      ],
    );
    assert.deepEqual(readPickle(pickles.get('python 2 set')!, 'file'), new Set([1, 'abc']));
    assert.deepEqual(plain(readPickle(pickles.get('python 2 array')!, 'file')), {
      dtype: 'f4',
      shape: [2],
      items: [1, -2],
    });
  });

  const revisited = path.join(data, 'revisited');
  it(
    'reads the ground truth of Revisited Oxford and Paris',
    { skip: !existsSync(revisited) && 'no test data' },
    () => {
      for (const [name, images, queries, difficulty] of [
        ['roxford5k', 4993, 70, 'easy'],
        ['rparis6k', 6322, 70, 'hard'],
      ] as const) {
        const file = path.join(revisited, name, `gnd_${name}.pkl`);
        const truth = readPickle(readFileSync(file), file) as Map<string, unknown[]>;
        assert.equal(truth.get('imlist')?.length, images);
        assert.equal(truth.get('qimlist')?.length, queries);
        const first = truth.get('gnd')?.[0] as Map<string, number[]>;
        assert.equal(first.get('bbx')?.length, 4);
        assert.ok((first.get(difficulty)?.length ?? 0) > 10);
      }
    },
  );

  it('refuses by name what is no data, and runs nothing', () => {
    const marker = path.join(os.tmpdir(), `dino-pickle-${process.pid}-ran`);
    const system = global('posix', 'system');
    const command = text(`touch ${marker}`);
    const cases: [name: string, Buffer, RegExp][] = [
      ['os.system', ops(global('os', 'system'), '(', command, 'tR'), /asks for os\.system, which is refused/],
      ['posix.system', ops(system, '(', command, 'tR'), /posix\.system/],
      ['eval', ops(global('builtins', 'eval'), '(', text('1'), 'tR'), /builtins\.eval/],
      ['getattr', ops(global('__builtin__', 'getattr'), '(', text('1'), 'tR'), /__builtin__\.getattr/],
      ['named alone', ops(global('subprocess', 'Popen')), /subprocess\.Popen/],
      ['popped again', ops(global('os', 'system'), '0N'), /os\.system/],
      [
        'nested reduce',
        ops(global('collections', 'OrderedDict'), '(', system, '(', command, 'tRtR'),
        /posix\.system/,
      ],
      ['a familiar name', ops(global('evil', 'OrderedDict'), ')R'), /evil\.OrderedDict/],
      [
        'a familiar module',
        ops(global('collections', 'OrderedDict.fromkeys'), ')R'),
        /OrderedDict\.fromkeys/,
      ],
      ['a deeper name', ops(global('torch._utils', '_rebuild_tensor_v2.__globals__')), /__globals__/],
      ['torch without a file', ops(global('torch', 'FloatStorage')), /torch\.FloatStorage/],
      ['computed name', ops(text('os'), text('system'), 0x93, '(', command, 'tR'), /os\.system/],
      ['name from the memo', ops(text('os'), 'q\0', text('system'), 'q\x01', 'h\0h\x01', 0x93), /os\.system/],
      ['name that is a list', ops(text('os'), ']', 0x93), /whose name is not text/],
      ['name over two lines', ops(text('collections\nOrderedDict'), text(''), 0x93), /OrderedDict/],
      ['INST', ops('(', command, 'ios\nsystem\n'), /an instance of os\.system/],
      ['OBJ', ops('(', global('argparse', 'Namespace'), 'o'), /OBJ/],
      ['EXT1', ops(0x82, 1), /registry of extensions/],
      ['EXT2', ops(0x83, 1, 0), /registry of extensions/],
      ['EXT4', ops(0x84, 1, 0, 0, 0), /registry of extensions/],
      ['a call of data', ops(text('x'), ')R'), /a call of text/],
      [
        'a call of what was made',
        ops(global('argparse', 'Namespace'), ')', 0x81, ')R'),
        /a call of a PickleNamespace/,
      ],
      ['__setstate__ of a list', ops(']', '}b'), /a state for a list/],
      ['__setstate__ of text', ops(text('x'), '}b'), /a state for text/],
      [
        '__setstate__ of a class',
        ops(global('argparse', 'Namespace'), '}b'),
        /a state for argparse\.Namespace/,
      ],
      [
        'slots',
        ops(global('argparse', 'Namespace'), ')', 0x81, 'N}', 0x86, 'b'),
        /whose state is not a dict/,
      ],
      [
        'named arguments',
        ops(global('argparse', 'Namespace'), ')}', text('a'), 'Ns', 0x92),
        /named arguments/,
      ],
      ['a class left over', ops(']', global('collections', 'OrderedDict'), 'a'), /OrderedDict as a value/],
      [
        'another class through copy_reg',
        ops(
          global('copy_reg', '_reconstructor'),
          '(',
          global('collections', 'OrderedDict'),
          global('__builtin__', 'object'),
          'NtR',
        ),
        /a class other than/,
      ],
      ['persistent id', ops(text('x'), 'Q'), /persistent id/],
      ['text persistent id', ops('Px\n'), /persistent id/],
      ['out-of-band buffer', ops(0x97), /buffer/],
    ];
    for (const [name, bytes, pattern] of cases) {
      assert.throws(
        () => readPickle(bytes, 'file.pth'),
        (error) => {
          assert.ok(error instanceof CheckpointError, `${name}: ${String(error)}`);
          assert.match(error.message, pattern, name);
          assert.match(error.message, /^file\.pth: /, name);
          return true;
        },
        name,
      );
    }
    assert.ok(!existsSync(marker));
  });

  it('refuses what is damaged', () => {
    const cases: [name: string, Buffer, RegExp][] = [
      ['empty', Buffer.alloc(0), /needs 1 bytes where 0/],
      ['no STOP', Buffer.from('N'), /needs 1 bytes/],
      ['two values', ops('NN'), /more than one value/],
      ['a mark left', ops('(N'), /without its operand|more than one/],
      ['no value', ops(), /without its operand/],
      ['below the mark', ops('N(', 'R'), /without its operand/],
      ['text cut off', ops('X\xff\xff\xff\x7f'), /needs 2147483647 bytes/],
      ['negative length', ops('T\xff\xff\xff\xff'), /length of -1/],
      ['64-bit length', ops(0x8e, Buffer.alloc(8, 255)), /a length of/],
      ['not UTF-8', ops('X\x01\0\0\0\xff'), /not UTF-8/],
      ['unknown opcode', ops(0xff), /unknown opcode 255/],
      ['protocol 9', Buffer.of(0x80, 9, 0x4e, 0x2e), /protocol 9/],
      ['no memo', ops('h\x07'), /no memo 7/],
      ['tuple grows', ops(')Na'), /items for a tuple/],
      ['list as key', ops('}]Ns'), /key that is neither/],
      ['dict as set entry', ops(0x8f, '(}', 0x90), /key that is neither/],
      ['key without a value', ops('}(Nu'), /without a value/],
      ['a number in words', ops('Ione\n'), /a number one/],
      ['a hexadecimal float', ops('F0x10\n'), /a number 0x10/],
    ];
    for (const [name, bytes, pattern] of cases) {
      assert.throws(
        () => readPickle(bytes, 'file'),
        (error) => error instanceof CheckpointError && pattern.test(error.message),
        name,
      );
    }
  });

  it('bounds memory and nesting', () => {
    const repeat = (parts: string, count: number): string => parts.repeat(count);
    // each list holds the one before twice: 2^60 values in 5 * 60 bytes
    const laughs = `(${repeat('l0', 0)}]q\0${repeat('0](h\0h\0eq\0', 60)}`.slice(1);
    const array = global('numpy.core.multiarray', '_reconstruct');
    const cases: [name: string, Buffer, RegExp][] = [
      ['contains itself', ops(']q\0h\0a'), /contains itself/],
      ['contains itself by a dict', ops('}q\0', text('a'), 'h\0s'), /contains itself/],
      ['nested lists', ops(repeat(']', 100_000), repeat('a', 99_999)), /nested more than 200 deep/],
      ['nested tuples', ops('N', repeat('\x85', 100_000)), /nested more than 200 deep/],
      ['deep through the memo', ops(']q\0', repeat('0]h\0aq\0', 1000)), /nested more than 200 deep/],
      ['billion laughs', ops(laughs), /shared parts/],
      ['many containers', ops('(', repeat('}', 500_001), 'l'), /more than 500000 containers/],
      [
        'copies of one list',
        ops('](', repeat('N', 100_000), 'eq\0(', repeat(`${global('builtins', 'set')}h\0\x85R`, 300), 'l'),
        /more than 10000000 values/,
      ],
      ['a number of a million digits', ops(`L${repeat('9', 1_000_000)}L\n`), /a number 9+\.\.\./],
      [
        'long paths of one part',
        ops(
          text('x'.repeat(4000)),
          'q\0(',
          repeat(`${global('pathlib', 'PosixPath')}h\0\x85R`, 400_000),
          'l',
        ),
        /more than 10000000 values/,
      ],
      [
        'bytes of one text',
        ops(
          text('x'.repeat(100_000)),
          'q\0',
          text('latin1'),
          'q\x010(',
          repeat(`${global('_codecs', 'encode')}h\0h\x01\x86R`, 1000),
          'l',
        ),
        /more than 10000000 values/,
      ],
      [
        'an array of more than it has',
        ops(
          array,
          global('numpy', 'ndarray'),
          tuple(0),
          text('b'),
          0x87,
          'R(',
          int(1),
          tuple(1 << 30, 1 << 20),
          global('numpy', 'dtype'),
          text('f8'),
          0x85,
          'R',
          0x89,
          'C\x04abcd',
          'tb',
        ),
        /with 4 bytes for/,
      ],
      [
        'an array of more than can be counted',
        ops(
          array,
          global('numpy', 'ndarray'),
          tuple(0),
          text('b'),
          0x87,
          'R(',
          int(1),
          tuple(1 << 30, 1 << 30),
          global('numpy', 'dtype'),
          text('f8'),
          0x85,
          'R',
          0x89,
          'C\x04abcd',
          'tb',
        ),
        /without a shape/,
      ],
    ];
    for (const [name, bytes, pattern] of cases) {
      const before = process.memoryUsage().rss;
      assert.throws(
        () => readPickle(bytes, 'file'),
        (error) => {
          assert.ok(error instanceof CheckpointError, `${name}: ${String(error)}`);
          assert.match(error.message, pattern, name);
          return true;
        },
      );
      assert.ok(process.memoryUsage().rss - before < 2 ** 29, `${name} took too much memory`);
    }
  });

  it('keeps a list that changes after it was used from changing what was made of it', () => {
    const dtype = [global('numpy', 'dtype'), text('f4'), 0x85, 'R'] as const;
    const made = [
      global('numpy.core.multiarray', '_reconstruct'),
      global('numpy', 'ndarray'),
      tuple(0),
      text('b'),
      0x87,
      'Rq\0',
    ];
    // a list as the shape, which grows afterwards
    const grown = ops(
      ...made,
      '(',
      int(1),
      ']q\x01',
      int(1),
      'a',
      ...dtype,
      0x89,
      'C\x04\0\0\x80?',
      'tb0h\x01',
      int(1000),
      'a0h\0',
    );
    assert.deepEqual((readPickle(grown, 'file') as NumpyArray).toArray(), [1]);
    assert.deepEqual((readPickle(grown, 'file') as NumpyArray).shape, [1]);
  });
});
