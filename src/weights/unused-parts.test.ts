/** A tensor or object that isn't used keeps no file from being read; one that is needed is refused by what it is. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CheckpointError } from '../errors.js';
import { buildBackbone } from '../models/index.js';
import { global, int, ops, tensorOps, text, torchFile, tuple } from '../testing/pickle-ops.js';
import { type Tensor, zeros } from '../torch/index.js';
import { formatDescription } from '../cli/weights/describe.js';
import { describeWeights } from './describe.js';
import { loadModel } from '../model.js';
import { type PickleNamespace, PickleOpaque } from './pickle-values.js';
import { PthFile, PthTensor } from './pth.js';
import { readNetwork } from './network.js';
import { writePth } from './pth-write.js';
import { filePrefix, writeSafetensors } from './safetensors.js';
import { openWeights } from './weights-file.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-unused-'));
after(() => rmSync(folder, { recursive: true }));
const fixture = (name: string): string =>
  path.join(fileURLToPath(new URL('../../test/fixtures/weights/', import.meta.url)), name);

describe('a file that PyTorch wrote with everything in it', () => {
  for (const name of ['kinds.pth', 'kinds-legacy.pth']) {
    it(`${name} is read: its network, and each other part as what it is`, () => {
      using model = loadModel(fixture(name), { device: 'cpu', numHeads: 2 });
      assert.deepEqual([model.architecture.embedDim, model.origin.warnings], [8, []]);
      using file = new PthFile(fixture(name));
      const root = file.value as Map<string, unknown>;
      const tensors = root.get('tensors') as Map<string, PthTensor>;
      for (const [key, problem] of [
        ['sparse', /^is sparse$/],
        ['csr', /^is sparse$/],
        ['meta', /^is on the meta device/],
        ['quantised', /^is quantised$/],
        ['quantised by channel', /^is quantised$/],
        ['own class', /OwnTensor, a tensor of its own class$/],
        ['negated', /^is a view whose values are negated$/],
        ['int8', /^is int8; supported are/],
        ['complex64', /^is complex64/],
        ...(name === 'kinds.pth'
          ? ([
              ['uint32', /^is uint32/],
              ['float8_e4m3fn', /^is float8_e4m3fn/],
            ] as const)
          : []),
      ] as const) {
        const tensor = tensors.get(key);
        assert.ok(tensor instanceof PthTensor, key);
        assert.match(tensor.problem ?? '', problem, key);
        assert.throws(() => file.tensor(tensor), CheckpointError, key);
      }
      // these are tensors like any other
      for (const key of ['marked', 'parameter', 'buffer'])
        assert.deepEqual(file.tensor(tensors.get(key)!).toArray(), [1, 1], key);
      assert.deepEqual(file.tensor(tensors.get('expanded')!).toArray(), new Array(64).fill(3));

      assert.deepEqual(root.get('defaultdict'), new Map([['loss', [1, 0.5]]]));
      assert.deepEqual(root.get('counter'), new Map([['a', 2], ['b', 1]])); // prettier-ignore
      assert.deepEqual(root.get('deque'), [1, 2]);
      assert.equal(root.get('scalar'), 0.25);
      const { entries } = root.get('namespace') as PickleNamespace;
      assert.deepEqual((entries.get('nested') as PickleNamespace).entries, new Map([['depth', 2]]));
      for (const [key, standIn] of [
        ['point', '__main__.Point'],
        ['config', '__main__.Config'],
        ['enum', '__main__.Colour'],
        ['records', 'numpy.ndarray'],
        ['date', 'datetime.datetime'],
        ['module', 'torch.nn.modules.linear.Linear'],
      ]) {
        const value = root.get(key!);
        assert.ok(value instanceof PickleOpaque && value.name === standIn, key);
        assert.ok(file.unknown.includes(standIn), key);
      }
      assert.equal((root.get('config') as PickleOpaque).entries.get('lr'), 0.1);
      assert.deepEqual((root.get('history') as PickleOpaque).items, [1, 2]);
      const said = formatDescription(describeWeights(fixture(name)));
      assert.match(
        said,
        /not used +tensors \(\d+ tensors\), torch generator\nnot read +.*OwnTensor.*none of their code was run/,
      );
    });
  }

  it('other-dtypes.safetensors is read past seven dtypes that are not known here, and uint16', () => {
    const file = fixture('other-dtypes.safetensors');
    using model = loadModel(file, { device: 'cpu', numHeads: 2 });
    assert.equal(model.architecture.embedDim, 8);
    using weights = openWeights(file);
    const odd = weights.entries.filter(({ problem }) => problem !== null);
    assert.deepEqual(
      odd.map(({ dtype }) => dtype).sort(),
      ['complex64', 'float8_e4m3fn', 'float8_e5m2', 'int16', 'int8', 'uint32', 'uint64'],
    ); // prettier-ignore
    assert.ok(weights.entries.some(({ dtype }) => dtype === 'uint16'));
    assert.throws(() => weights.read('relative_int8'), /relative_int8 is int8; supported are/);
  });
});

/** The tensors of a small network as pickled entries, and their storages; `change` puts others in place of some. */
function smallNetwork(change: Readonly<Record<string, Buffer>> = {}): {
  entries: Buffer[];
  storages: Record<string, Buffer>;
} {
  const backbone = buildBackbone({
    arch: 'vit',
    embedDim: 4,
    depth: 1,
    numHeads: 2,
    patchSize: 2,
    imgSize: 4,
  });
  const storages: Record<string, Buffer> = { odd: Buffer.alloc(16) };
  const entries = [...backbone.stateDict()].flatMap(([name, tensor], i) => {
    const values = tensor.toTypedArray();
    storages[String(i)] = Buffer.from(values.slice().buffer);
    return [text(name), change[name] ?? tensorOps({ key: String(i), shape: [...tensor.shape] })];
  });
  backbone.dispose();
  return { entries, storages };
}

function written(name: string, pickle: Buffer, storages: Record<string, Buffer>): string {
  const file = path.join(folder, name);
  writeFileSync(file, torchFile(pickle, storages));
  return file;
}

const part = (...parts: (string | number | Uint8Array)[]): Buffer => ops(...parts).subarray(2, -1);

describe('an unknown part of a .pth file', () => {
  const odd = (dtype: string): Buffer =>
    part(
      ...[global('torch._utils', '_rebuild_tensor_v3'), '((', text('storage')],
      ...[global('torch.storage', 'UntypedStorage'), text('odd'), text('cpu'), int(16), 'tQ'],
      ...[int(0), tuple(4), tuple(1), 0x89, global('collections', 'OrderedDict'), ')R'],
      ...[global('torch', dtype), 'tR'],
    );
  const meta = part(
    ...[global('torch._utils', '_rebuild_meta_tensor_no_storage'), '(', global('torch', 'float32')],
    ...[tuple(4), tuple(1), 0x89, 'tR'],
  );
  for (const [name, value, problem] of [
    ['a meta tensor', meta, /can't be read: norm\.weight is on the meta device/],
    ['fp8', odd('float8_e4m3fn'), /can't be read: norm\.weight is float8_e4m3fn/],
    ['a dtype of the future', odd('float3'), /can't be read: norm\.weight is of an unknown kind: float3/],
    [
      'a storage of the future',
      tensorOps({ key: 'odd', shape: [4], storage: 'NewStorage' }),
      /unknown kind: torch\.NewStorage/,
    ],
    ['an object', part(global('my.package', 'Weights'), ')R'), /missing: norm\.weight/],
    [
      'an object with a state',
      part(global('my.package', 'Weights'), ')\x81}', text('a'), 'Nsb'),
      /missing: norm\.weight/,
    ],
    ['an old instance', part('(', 'imy.package\nWeights\n'), /missing: norm\.weight/],
    [
      'a call with names',
      part(global('my.package', 'Weights'), ')}', text('a'), 'Ns', 0x92),
      /missing: norm\.weight/,
    ],
    ['a call of an object', part(global('my.package', 'Weights'), ')R)R'), /missing: norm\.weight/],
  ] as const) {
    it(`${name} beside the network changes nothing; in its place it is refused by its name`, () => {
      const beside = smallNetwork();
      const file = written(
        'beside.pth',
        ops('}(', ...beside.entries, text('center'), value, 'u'),
        beside.storages,
      );
      using model = loadModel(file, { device: 'cpu', numHeads: 2 });
      assert.equal(model.architecture.embedDim, 4);
      if (name !== 'an object') assert.deepEqual(model.origin.warnings, []);
      const inside = smallNetwork({ 'norm.weight': value });
      const needed = written('inside.pth', ops('}(', ...inside.entries, 'u'), inside.storages);
      assert.throws(() => describeWeights(needed), problem);
      assert.throws(() => loadModel(needed), problem);
    });
  }

  it('that would run something runs nothing, and is told of', () => {
    const marker = path.join(folder, 'ran');
    for (const [module, name] of [
      ['os', 'system'],
      ['posix', 'system'],
      ['builtins', 'exec'],
      ['subprocess', 'Popen'],
    ] as const) {
      const command = name === 'exec' ? `open(${JSON.stringify(marker)}, 'w')` : `touch ${marker}`;
      const { entries, storages } = smallNetwork();
      const call = part(global(module, name), '(', text(command), 'tR');
      const file = written('evil.pth', ops('}(', ...entries, text('hook'), call, 'u'), storages);
      const { standIns, warnings } = describeWeights(file, { numHeads: 2 });
      assert.deepEqual(standIns, [`${module}.${name}`]);
      assert.match(warnings.join(), new RegExp(`names ${module}\\.${name}, which weights do not need`));
      assert.ok(!existsSync(marker));
    }
  });

  it('is counted: what copies itself is refused as before', () => {
    // each dict holds the one before twice: 2^40 values when they are written out
    const twice = Buffer.concat(
      Array.from({ length: 40 }, () => part('q\x01', '0](', 'h\x01', 'h\x01', 'e')),
    );
    const { entries, storages } = smallNetwork();
    const pickle = ops('}(', ...entries, text('log'), global('my.package', 'List'), ')R', twice, 'u');
    assert.throws(
      () => describeWeights(written('bomb.pth', pickle, storages)),
      /values when its shared parts/,
    );
  });
});

it('weights of whole numbers or truth values are refused by their names, in both formats; counters are not', () => {
  const backbone = buildBackbone({ arch: 'vit', embedDim: 4, depth: 1, numHeads: 2, patchSize: 2, imgSize: 4 }); // prettier-ignore
  const state = new Map(backbone.stateDict());
  const files = (tensors: ReadonlyMap<string, Tensor>, isForPth: boolean): string[] => {
    const file = path.join(folder, 'whole.safetensors');
    writeSafetensors(file, tensors);
    if (!isForPth) return [file];
    writePth(path.join(folder, 'whole.pth'), tensors);
    return [file, path.join(folder, 'whole.pth')];
  };
  for (const dtype of ['uint8', 'uint16', 'int32', 'int64', 'bool'] as const) {
    const isForPth = dtype !== 'uint16';
    const whole = new Map([...state, ['norm.weight', zeros([4], { dtype })]]);
    const refusal = new RegExp(`can't be read: norm\\.weight is ${dtype}, which weights of a layer can't be`);
    for (const file of files(whole, isForPth)) {
      assert.throws(() => describeWeights(file), refusal, file);
      assert.throws(() => loadModel(file), refusal, file);
    }
    // beside the network, it is as unused as any other tensor
    for (const file of files(new Map([...state, ['center', zeros([4], { dtype })]]), isForPth))
      assert.deepEqual(describeWeights(file, { numHeads: 2 }).unused, ['center']);
  }
  for (const dtype of ['float16', 'bfloat16', 'float64'] as const)
    for (const file of files(new Map([...state].map(([name, tensor]) => [name, tensor.to(dtype)])), true))
      assert.deepEqual(describeWeights(file, { numHeads: 2 }).dtypes, [dtype]);
  const resnet = buildBackbone({ arch: 'resnet18' });
  const [file] = files(resnet.stateDict(), false); // num_batches_tracked is int64
  assert.deepEqual(describeWeights(file!).dtypes.sort(), ['float32', 'int64']);
  resnet.dispose();
  backbone.dispose();
});

it('a head of whole numbers is refused where it is used', () => {
  const backbone = buildBackbone({ arch: 'vit', embedDim: 4, depth: 1, numHeads: 2, patchSize: 2, imgSize: 4 }); // prettier-ignore
  const tensors = new Map([...backbone.stateDict()].map(([name, tensor]) => [`backbone.${name}`, tensor]));
  tensors.set('head.mlp.0.weight', zeros([4, 4], { dtype: 'uint8' }));
  const file = path.join(folder, 'head.safetensors');
  writeSafetensors(file, tensors);
  using model = loadModel(file, { numHeads: 2, device: 'cpu' });
  assert.equal(model.architecture.embedDim, 4);
  assert.throws(
    () => readNetwork(file, { withHead: true }),
    /can't be read: head\.mlp\.0\.weight is uint8, which weights of a layer can't be/,
  );
  backbone.dispose();
});

it('a safetensors file of a dtype that came later is described, and refused where it is needed', () => {
  const backbone = buildBackbone({
    arch: 'vit',
    embedDim: 4,
    depth: 1,
    numHeads: 2,
    patchSize: 2,
    imgSize: 4,
  });
  for (const isNeeded of [false, true]) {
    const header = new Map<string, unknown>();
    const data: Buffer[] = [];
    let at = 0;
    const add = (name: string, dtype: string, shape: readonly number[], bytes: Buffer): void => {
      header.set(name, { dtype, shape, data_offsets: [at, at + bytes.length] });
      data.push(bytes);
      at += bytes.length;
    };
    for (const [name, tensor] of backbone.stateDict()) {
      const bytes = Buffer.from(tensor.toTypedArray().slice().buffer);
      const isOdd = isNeeded && name === 'norm.bias';
      add(name, isOdd ? 'Q3_K' : 'F32', tensor.shape, isOdd ? Buffer.alloc(3) : bytes);
    }
    add('scales', 'Q3_K', [7], Buffer.alloc(3));
    const file = path.join(folder, 'later.safetensors');
    writeFileSync(file, Buffer.concat([filePrefix(header), ...data]));
    if (isNeeded)
      assert.throws(() => describeWeights(file), /can't be read: norm\.bias is Q3_K; supported are/);
    else assert.deepEqual(describeWeights(file).unused, ['scales']);
  }
});
