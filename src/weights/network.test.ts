import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CheckpointError } from '../errors.js';
import { hashValues, hashWeight } from '../testing/hash-fill.js';
import { ops, tensorOps, text, torchFile } from '../testing/pickle-ops.js';
import { fromTypedArray, noGrad, type Tensor } from '../torch/index.js';
import { formatDescription } from '../cli/weights/describe.js';
import { describeWeights } from './describe.js';
import { loadModel } from '../model.js';
import { writeSafetensors } from './safetensors.js';

interface OtherLibrary {
  version: string;
  config: Record<string, unknown>;
  tensors: [name: string, shape: number[]][];
  inMemory: string[];
  features: number[];
}
const root = fileURLToPath(new URL('../../', import.meta.url));
const fixture = JSON.parse(
  readFileSync(path.join(root, 'test/fixtures/weights/other-names.json'), 'utf8'),
) as {
  std: number;
  images: number[];
  transformers: OtherLibrary;
  timm: OtherLibrary;
};
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-network-'));
after(() => rmSync(folder, { recursive: true }));
const images = fromTypedArray(hashValues('images', fixture.images), fixture.images);

const filled = (library: OtherLibrary): [string, number[], Float32Array][] =>
  library.tensors.map(([name, shape]) => [name, shape, hashWeight(name, shape, fixture.std)]);
const asTensors = (entries: [string, number[], Float32Array][]): Map<string, Tensor> =>
  new Map(entries.map(([name, shape, values]) => [name, fromTypedArray(values, shape)]));

/** A torch file with a dict of these, each in a storage of its own; `wrap` puts the dict where it belongs. */
function writePth(
  file: string,
  entries: [string, number[], Float32Array][],
  wrap: (dict: Buffer) => Buffer = (dict) => dict,
): void {
  const items = entries.flatMap(([name, shape], i) => [text(name), tensorOps({ key: String(i), shape })]);
  const dict = Buffer.concat([Buffer.from('}('), ...items, Buffer.from('u')]);
  const storages = Object.fromEntries(
    entries.map(([, , values], i) => [
      String(i),
      Buffer.from(values.buffer, values.byteOffset, values.byteLength),
    ]),
  );
  writeFileSync(file, torchFile(ops(wrap(dict)), storages));
}

function assertFeatures(
  weights: string,
  expected: number[],
  options: { numHeads?: number; checkpointKey?: string } = {},
): void {
  using model = loadModel(weights, { device: 'cpu', ...options });
  const features = noGrad(() => model.backbone.forward(images)).toArray();
  assert.equal(features.length, expected.length);
  for (const [i, value] of features.entries())
    assert.ok(
      Math.abs(value - (expected[i] as number)) < 1e-5,
      `${weights} [${i}]: ${value} and ${expected[i]}`,
    );
}

describe('weights of other libraries', () => {
  const { transformers, timm } = fixture;
  const pretrained = path.join(folder, 'dino-vits16');

  it("reads a folder of Hugging Face's, to the same features", () => {
    mkdirSync(pretrained);
    writeFileSync(path.join(pretrained, 'config.json'), JSON.stringify(transformers.config));
    writeSafetensors(path.join(pretrained, 'model.safetensors'), asTensors(filled(transformers)), {
      format: 'pt',
    });
    assertFeatures(pretrained, transformers.features);
    assertFeatures(path.join(pretrained, 'model.safetensors'), transformers.features);
    const description = describeWeights(pretrained);
    assert.deepEqual([description.layout, description.format], ['transformers', 'safetensors']);
    assert.deepEqual(description.unused, ['pooler.dense.weight', 'pooler.dense.bias'].sort());
    assert.equal(description.architecture.numHeads, 3);
    assert.match(formatDescription(description), /Hugging Face's, translated[^]*not used +pooler/);
  });

  it('reads pytorch_model.bin, a classifier around it, and the names of transformers 5 in memory', () => {
    const older = path.join(folder, 'older');
    mkdirSync(older);
    writeFileSync(path.join(older, 'config.json'), JSON.stringify(transformers.config));
    const classifier: [string, number[], Float32Array][] = filled(transformers)
      .filter(([name]) => !name.startsWith('pooler'))
      .map(([name, ...rest]) => [`vit.${name}`, ...rest]);
    classifier.push(['classifier.weight', [2, 12], new Float32Array(24)]);
    writePth(path.join(older, 'pytorch_model.bin'), classifier);
    assertFeatures(older, transformers.features);

    // the same tensors under the names that the library has in memory, where the lists agree in order of layers
    const rename = (name: string): string =>
      name
        .replace('encoder.layer', 'layers')
        .replace(/attention\.attention\.(.).*\./, 'attention.$1_proj.')
        .replace('query', 'q')
        .replace('attention.output.dense', 'attention.o_proj')
        .replace('intermediate.dense', 'mlp.fc1')
        .replace('output.dense', 'mlp.fc2');
    const renamed = filled(transformers).map(([name, ...rest]): [string, number[], Float32Array] => [
      rename(name),
      ...rest,
    ]);
    assert.deepEqual(renamed.map(([name]) => name).sort(), [...transformers.inMemory].sort());
    const file = path.join(folder, 'in-memory.pt');
    writePth(file, renamed);
    assertFeatures(file, transformers.features, { numHeads: 3 });
  });

  it("reads timm's, with and without a classifier", () => {
    const file = path.join(folder, 'timm.safetensors');
    writeSafetensors(file, asTensors(filled(timm)));
    assertFeatures(file, timm.features, { numHeads: 3 });
    assert.deepEqual(describeWeights(file).unused, ['head.bias', 'head.weight']);
    const pth = path.join(folder, 'timm.pth');
    writePth(pth, filled(timm), (dict) =>
      Buffer.concat([Buffer.from('}'), text('state_dict'), dict, Buffer.from('s')]),
    );
    assertFeatures(pth, timm.features, { numHeads: 3 });
  });

  it('reads official backbones and full checkpoints', () => {
    const backbone = filled(timm).filter(([name]) => !name.startsWith('head.'));
    const plain = path.join(folder, 'dino_deitsmall16_pretrain.pth');
    writePth(plain, backbone);
    assertFeatures(plain, timm.features, { numHeads: 3 });
    const key = (name: string): Buffer => text(name);
    const full = path.join(folder, 'full.pth');
    const network: [string, number[], Float32Array][] = [
      ...backbone.map(([name, ...rest]): [string, number[], Float32Array] => [
        `module.backbone.${name}`,
        ...rest,
      ]),
      ['module.head.mlp.0.weight', [2, 12], new Float32Array(24)],
      ['module.head.last_layer.weight_v', [7, 2], new Float32Array(14)],
    ];
    writePth(full, network, (dict) =>
      Buffer.concat([
        Buffer.from('}'),
        key('student'),
        dict,
        Buffer.from('s'),
        key('epoch'),
        Buffer.from('K\x64s'),
      ]),
    );
    assertFeatures(full, timm.features, { numHeads: 3, checkpointKey: 'student' });
    const description = describeWeights(full, { checkpointKey: 'student' });
    assert.deepEqual(description.checkpoint, { key: 'student', epoch: 100, args: null });
    assert.deepEqual([description.outDim, description.headParameters], [7, 38]);
    assert.match(formatDescription(description), /student of a PyTorch checkpoint, after 100 epochs/);
    // the only network is taken where none is asked for
    assertFeatures(full, timm.features, { numHeads: 3 });
    assert.throws(
      () => loadModel(full, { checkpointKey: 'teacher' }),
      /has no network 'teacher'; it has student\.backbone\. Choose one of them by --checkpoint-key/,
    );

    const args = path.join(root, 'test/fixtures/weights/checkpoint.pth');
    assert.throws(() => loadModel(args), /does not hold a vision transformer/);
  });

  it('names every missing, unexpected and wrongly shaped tensor, under the names of the model', () => {
    const broken = filled(transformers).filter(
      ([name]) => !/layer\.1\..*(layernorm_after\.bias|key\.weight)/.test(name),
    );
    broken.push(['encoder.layer.0.layer_scale', [12], new Float32Array(12)]);
    const file = path.join(folder, 'broken.pth');
    writePth(file, broken);
    assert.throws(() => loadModel(file), /missing: blocks\.1\.attn\.k\.weight/);
    const others = broken.filter(([name]) => !/layer\.1\.attention\.attention\..*weight/.test(name));
    writePth(
      file,
      others.map(([name, shape, values]) =>
        name === 'layernorm.bias' ? [name, [2, 6], values] : [name, shape, values],
      ),
    );
    assert.throws(
      () => loadModel(file, { numHeads: 3 }),
      (error) => {
        assert.ok(error instanceof CheckpointError);
        // a block without its qkv counts as none, so its other tensors are unexpected
        assert.match(error.message, /unexpected: encoder\.layer\.0\.layer_scale/);
        assert.match(error.message, /unexpected: blocks\.1\.norm1\.weight/);
        assert.match(error.message, /shape of norm\.bias: expected \[12\], got \[2, 6\]/);
        return true;
      },
    );
    writePth(file, [['linear.weight', [1000, 12], new Float32Array(12_000)]]);
    assert.throws(
      () => loadModel(file),
      /does not hold a vision transformer .*\(nor a ResNet, XCiT or ConvNeXt\)/,
    );
    writePth(file, [['\u001b[2Jevil', [1], new Float32Array(1)]]);
    assert.throws(() => loadModel(file), /It has 1 tensor: \\u001b\[2Jevil$/);
    writePth(file, []);
    assert.throws(() => loadModel(file), /expected a dict of tensors by name.*it has nothing/);
    writeFileSync(file, torchFile(ops(']')));
    assert.throws(() => loadModel(file), /it is a list of 0 other values/);
  });

  it('serves the commands', () => {
    const told = execFileSync(
      process.execPath,
      [path.join(root, 'bin/dino.js'), 'info', pretrained, '--json'],
      {
        encoding: 'utf8',
      },
    );
    assert.equal((JSON.parse(told) as { layout: string }).layout, 'transformers');
  });
});
