/** What a file or folder is that was given as weights is said; what can be read by its content is read. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { CheckpointError } from '../errors.js';
import { buildBackbone } from '../models/index.js';
import { ops, zip } from '../testing/pickle-ops.js';
import { ones, type Tensor, zeros } from '../torch/index.js';
import { describeWeights } from './describe.js';
import { loadModel } from '../model.js';
import { writePth } from './pth-write.js';
import { writeSafetensors } from './safetensors.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-identify-'));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => path.join(folder, name);
const state = (): Map<string, Tensor> =>
  new Map(
    buildBackbone({ arch: 'vit', embedDim: 12, depth: 1, numHeads: 3, patchSize: 4, imgSize: 8 }).stateDict(),
  );

function says(weights: string, pattern: RegExp): void {
  for (const use of [describeWeights, loadModel])
    assert.throws(
      () => use(weights),
      (error) => {
        assert.ok(error instanceof CheckpointError, String(error));
        assert.match(error.message, pattern);
        assert.ok(error.message.includes(weights), error.message);
        return true;
      },
    );
}

const POINTER = 'version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 343279349\n';
const HTML = '\ufeff\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>';
/** As flax.serialization.to_bytes({'params': {...}}) begins. */
const FLAX = Buffer.concat([
  Buffer.of(0x81, 0xa6),
  Buffer.from('params'),
  Buffer.of(0x82, 0xa3),
  Buffer.from('cls'),
]);

describe('a file that is not weights', () => {
  for (const ending of ['pth', 'safetensors', 'bin']) {
    it(`is called what it is, named .${ending}`, () => {
      const file = at(`given.${ending}`);
      for (const [bytes, pattern] of [
        [POINTER, /is a Git LFS pointer of 343 MB, .*: run git lfs pull/],
        [POINTER.replace('343279349', '1234'), /a Git LFS pointer of 2 kB/],
        ['', /is empty \(0 bytes\)/],
        [HTML, /is an HTML page, as left by a failed download/],
        [
          '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
          /is XML, as a storage server sends/,
        ],
        ['\x89HDF\r\n\x1a\n\0\0', /is an HDF5 file, as Keras and TensorFlow write/],
        [FLAX, /is a msgpack file, as Flax writes/],
        [gzipSync('weights'), /is compressed by gzip: unpack it first/],
        ['BZh91AY', /compressed by bzip2/],
        [
          zip({ 'cat.jpg': 'x', 'dog.jpg': 'y' }),
          /is a zip file with something else in it \(cat\.jpg, dog\.jpg\)/,
        ],
        [zip({ 'weights/model.pth': 'x' }), /a zip file with weights\/model\.pth in it: unpack it/],
        [zip({ 'a.npy': 'x', 'b.npy': 'x' }), /is NumPy's archive/],
        [zip({ 'm/data.pkl': ops('N'), 'm/constants.pkl': 'x' }), /is a TorchScript archive.*state_dict\(\)/],
        ['\x93NUMPY\x01\0', /is NumPy's array/],
        [ops('}'), /is a pickle that torch\.save did not write/],
        ['{"weight_map": 1}', /is JSON text/],
        ['see the release page', /it is text$|it is text[.,; ]/],
      ] as const) {
        writeFileSync(
          file,
          typeof bytes === 'string' ? Buffer.from(bytes, bytes === HTML ? 'utf8' : 'latin1') : bytes,
        );
        says(file, pattern);
      }
    });
  }

  it('is known by its ending where nothing else tells', () => {
    for (const [name, pattern] of [
      ['model.onnx', /is an ONNX file: these are written .*, not read/],
      ['model.ckpt.data-00000-of-00001', /is a part of a TensorFlow model/],
      ['flax_model.msgpack', /is a msgpack file/],
      ['anything.pth', /is in an unknown format\. Expected what torch\.save writes/],
    ] as const) {
      writeFileSync(at(name), Buffer.of(8, 9, 0, 1, 2));
      says(at(name), pattern);
    }
  });

  it('is read when only its ending is another', () => {
    writeSafetensors(at('tensors.pth'), state());
    writePth(at('torch.safetensors'), state());
    writePth(at('no-ending'), state());
    for (const [name, format] of [
      ['tensors.pth', 'safetensors'],
      ['torch.safetensors', 'pth'],
      ['no-ending', 'pth'],
    ] as const)
      assert.equal(describeWeights(at(name)).format, format);
  });
});

describe("Hugging Face's folders", () => {
  /** The tensors in two files, as save_pretrained(max_shard_size=...) leaves them. */
  function sharded(name: string, write: (file: string, tensors: Map<string, Tensor>) => void, ending: string): string {
    const place = at(name);
    mkdirSync(place, { recursive: true });
    const weightMap: Record<string, string> = {};
    const entries = [...state()];
    const stem = ending === 'safetensors' ? 'model' : 'pytorch_model';
    for (const [i, part] of [entries.slice(0, 5), entries.slice(5)].entries()) {
      const shard = `${stem}-0000${i + 1}-of-00002.${ending}`;
      write(path.join(place, shard), new Map(part));
      for (const [tensor] of part) weightMap[tensor] = shard;
    }
    const index = { metadata: { total_size: 1 }, weight_map: weightMap };
    writeFileSync(path.join(place, `${stem}.${ending}.index.json`), JSON.stringify(index));
    writeFileSync(path.join(place, 'config.json'), JSON.stringify({ num_attention_heads: 3 }));
    return place;
  } // prettier-ignore

  for (const [ending, write] of [
    ['safetensors', writeSafetensors],
    ['bin', writePth],
  ] as const) {
    it(`with ${ending} weights in several files are read, by the folder or its index`, () => {
      const place = sharded(`sharded-${ending}`, write, ending);
      const index = path.join(place, `${ending === 'bin' ? 'pytorch_model' : 'model'}.${ending}.index.json`);
      for (const weights of [place, index]) {
        using model = loadModel(weights, { device: 'cpu' });
        assert.deepEqual([model.architecture.numHeads, model.origin.warnings], [3, []]);
        assert.equal(model.origin.files.length, 3);
      }
    });
  }

  it('whose index lies are refused: a file elsewhere, one that is gone, one of another version', () => {
    const place = sharded('lying', writeSafetensors, 'safetensors');
    const index = path.join(place, 'model.safetensors.index.json');
    const lie = (map: unknown, pattern: RegExp): void => {
      writeFileSync(index, JSON.stringify({ weight_map: map }));
      assert.throws(() => describeWeights(place), pattern);
    };
    writeSafetensors(at('elsewhere.safetensors'), state());
    for (const name of ['../elsewhere.safetensors', at('elsewhere.safetensors'), '..', '', 'a\\b'])
      lie({ cls_token: name }, /expected the name of a file beside the index/);
    lie({ cls_token: 'model-00003-of-00003.safetensors' }, /can't be opened/);
    lie(
      { norm_of_another: 'model-00001-of-00002.safetensors' },
      /has no tensor norm_of_another, which .* says it has/,
    );
    lie([], /expected weight_map/);
    lie({}, /names 0 files/);
    writeFileSync(index, '{');
    assert.throws(() => describeWeights(place), /is not JSON/);
  });

  it('and others without weights that are read are called what they are', () => {
    for (const [name, files, pattern] of [
      [
        'flax',
        ['flax_model.msgpack', 'config.json'],
        /with the weights of another library \(flax_model\.msgpack\)/,
      ],
      ['keras', ['tf_model.h5'], /with the weights of another library \(tf_model\.h5\)/],
      ['distributed', ['.metadata', '__0_0.distcp'], /a distributed checkpoint of PyTorch .*dcp_to_torch/],
      ['files', ['best.pth', 'last.ckpt'], /a folder with best\.pth, last\.ckpt: give the file/],
      ['nothing', [], /neither a run folder .* a checkpoint folder .* nor a Hugging Face folder/],
    ] as const) {
      mkdirSync(at(name), { recursive: true });
      for (const file of files) writeFileSync(path.join(at(name), file), '{}');
      says(at(name), pattern);
    }
    const cache = at('models--facebook--dino-vits16');
    mkdirSync(path.join(cache, 'snapshots'), { recursive: true });
    mkdirSync(path.join(cache, 'refs'));
    says(cache, /of Hugging Face's cache: give the folder of a revision in .*snapshots/);
    // a pointer of Git LFS in a folder that was cloned without it
    mkdirSync(at('cloned'));
    writeFileSync(path.join(at('cloned'), 'config.json'), '{"num_attention_heads": 6}');
    writeFileSync(path.join(at('cloned'), 'model.safetensors'), POINTER);
    assert.throws(
      () => loadModel(at('cloned')),
      /model\.safetensors is not a safetensors file: it is a Git LFS pointer/,
    );
    copyFileSync(at('tensors.pth'), path.join(at('cloned'), 'model.safetensors'));
    assert.equal(describeWeights(at('cloned'), { numHeads: 3 }).architecture.embedDim, 12);
  });
});

it('the models of DINOv3 and incomplete ones of DINOv2 are named', () => {
  const vit = (
    width: number,
    patch: number,
    more: Record<string, number[]>,
    hasPositions = true,
  ): Map<string, Tensor> =>
    new Map(
      Object.entries({
        cls_token: [1, 1, width],
        'patch_embed.proj.weight': [width, 3, patch, patch],
        'blocks.0.attn.qkv.weight': [3 * width, width],
        ...(hasPositions ? { pos_embed: [1, 5, width] } : {}),
        ...more,
      }).map(([name, shape]) => [name, ones(shape)]),
    );
  const scaled = (width: number): Record<string, number[]> => ({ 'blocks.0.ls1.gamma': [width] });
  const huggingFace = (width: number, patch: number, more: Record<string, number[]>): Map<string, Tensor> =>
    new Map(
      Object.entries({
        'embeddings.cls_token': [1, 1, width],
        'embeddings.patch_embeddings.projection.weight': [width, 3, patch, patch],
        'embeddings.position_embeddings': [1, 5, width],
        'encoder.layer.0.layer_scale1.lambda1': [width],
        ...more,
      }).map(([name, shape]) => [name, zeros(shape)]),
    );
  for (const [tensors, pattern] of [
    [vit(384, 14, { ...scaled(384), register_tokens: [1, 4, 384] }), /don't fit a dinov2_vit_reg:\n {2}missing: patch_embed.proj.bias/],
    [vit(768, 14, { ...scaled(768), mask_token: [1, 768] }), /don't fit a dinov2_vit:/],
    [vit(1024, 14, { ...scaled(1024), reg_token: [1, 4, 1024] }), /don't fit a dinov2_vit_reg:/],
    [vit(384, 16, { ...scaled(384), storage_tokens: [1, 4, 384], 'rope_embed.periods': [16] }, false), /holds a DINOv3 vision transformer of width 384 with 1 blocks, 6 heads/],
    [vit(384, 16, { 'blocks.0.gamma_1': [384], reg_token: [1, 4, 384] }, false), /does not hold .* rope_embed.periods is missing|DINOv3/],
    [huggingFace(384, 14, {}), /don't fit a dinov2_vit:|blocks.0.attn.qkv.weight is missing/],
    [new Map([['downsample_layers.0.0.weight', ones([96, 3, 4, 4])], ['stages.0.0.gamma', ones([96])]]), /a ConvNeXt of width 96 with 0, 0, 0, 0 blocks/],
  ] as const) {
    for (const prefix of ['', 'teacher.backbone.']) {
      const file = at('other.pth');
      writePth(file, new Map([...tensors].map(([name, tensor]) => [prefix + name, tensor])));
      says(file, pattern);
    }
  } // prettier-ignore
});
