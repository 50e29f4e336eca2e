/** Whatever a state dict was saved from, its network is found, and the one that is meant of several. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { CheckpointError } from '../errors.js';
import { buildBackbone } from '../models/index.js';
import { withoutInit } from '../nn/index.js';
import { hashFill } from '../testing/hash-fill.js';
import { ones, type Tensor, zeros } from '../torch/index.js';
import { formatDescription } from '../cli/weights/describe.js';
import { describeWeights } from './describe.js';
import { loadModel } from '../model.js';
import { writePth, type PthValue } from './pth-write.js';
import { writeSafetensors } from './safetensors.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-networks-'));
after(() => rmSync(folder, { recursive: true }));

type State = Map<string, Tensor>;
const backbone = hashFill(
  buildBackbone({ arch: 'vit', embedDim: 4, depth: 1, numHeads: 2, patchSize: 2, imgSize: 4 }),
  0.1,
);
const state: State = new Map(backbone.stateDict());
const resnet: State = new Map(withoutInit(() => buildBackbone({ arch: 'resnet18' })).stateDict());
/** The same network with its class token changed, so that it is seen which one was taken. */
const marked = (value: number): State =>
  new Map([...state, ['cls_token', zeros([1, 1, 4]).add(value).keep()]]);
const prefixed = (prefix: string, from: State = state): State =>
  new Map([...from].map(([name, tensor]) => [prefix + name, tensor]));
const joined = (...parts: State[]): State => new Map(parts.flatMap((part) => [...part]));

let count = 0;
function file(value: PthValue, ending = 'pth'): string {
  const name = path.join(folder, `${count++}.${ending}`);
  if (ending === 'safetensors') writeSafetensors(name, value as State);
  else writePth(name, value);
  return name;
}

/** The class token's value of the network that is taken; what info accepts is loaded, and the other way round. */
function taken(weights: string, checkpointKey?: string): number {
  const which = { numHeads: 2, ...(checkpointKey === undefined ? {} : { checkpointKey }) };
  const { architecture } = describeWeights(weights, which);
  assert.deepEqual([architecture.embedDim, architecture.depth], [4, 1]);
  using model = loadModel(weights, { device: 'cpu', ...which });
  return Math.round(1000 * model.backbone.stateDict().get('cls_token')!.toArray()[0]!) / 1000;
}

describe('prefixes', () => {
  const own = Math.round(1000 * state.get('cls_token')!.toArray()[0]!) / 1000;
  for (const prefix of [
    ...['', '_orig_mod.', 'module.', 'module._orig_mod.', '_orig_mod.module.', 'module.module.', 'model.'],
    ...['model.backbone.', 'net.', 'vit.', 'encoder.', 'encoder_q.', 'module.encoder_q.', 'backbone.'],
    ...[
      '_fsdp_wrapped_module.',
      'module._fsdp_wrapped_module.',
      '_forward_module.model.',
      'student_backbone.',
    ],
    ...[
      'teacher_backbone.',
      'momentum_backbone.',
      'module.base_encoder.',
      'trunk._feature_blocks.',
      'a.b.c.d.',
    ],
    ...['online_network.encoder.', 'my_own_name.'],
  ]) {
    it(`'${prefix}' is taken off, in both formats and below a dict`, () => {
      for (const weights of [
        file(prefixed(prefix)),
        file(prefixed(prefix), 'safetensors'),
        file(new Map<string, PthValue>([['state_dict', prefixed(prefix)], ['epoch', 3]])), // prettier-ignore
        file(new Map<string, PthValue>([['model', prefixed(prefix)], ['optimizer', new Map([['state', [ones([2])]]])]])), // prettier-ignore
      ])
        assert.equal(taken(weights), own, weights);
    });
  }

  it('wrappers in the middle of names are left out', () => {
    const inside = (name: string): string =>
      name
        .replace(/^blocks\.(\d+)\.attn\./, 'blocks.$1._fsdp_wrapped_module._checkpoint_wrapped_module.attn.')
        .replace(/^blocks\.(\d+)\.mlp\./, 'blocks.$1._checkpoint_wrapped_module.mlp._orig_mod.');
    const wrapped: State = new Map(
      [...state].map(([name, tensor]) => [`_fsdp_wrapped_module.${inside(name)}`, tensor]),
    );
    assert.equal(taken(file(wrapped)), own);
    const twice = joined(wrapped, prefixed('_fsdp_wrapped_module.'));
    assert.throws(() => taken(file(twice)), /holds blocks\.0\..* more than once/);
  });

  it('a ResNet is found as a transformer is, past its heads', () => {
    const moco = joined(
      prefixed('module.encoder_q.', resnet),
      new Map([
        ['module.encoder_q.fc.0.weight', zeros([4, 4])],
        ['module.queue', zeros([4, 4])],
        ['module.queue_ptr', zeros([1])],
      ]),
    );
    const weights = file(new Map<string, PthValue>([['arch', 'resnet18'], ['state_dict', moco]])); // prettier-ignore
    const { architecture, unused, warnings } = describeWeights(weights);
    assert.equal(architecture.arch, 'resnet18');
    assert.deepEqual(unused, ['encoder_q.fc.0.weight', 'queue', 'queue_ptr'].map((name) => `state_dict.module.${name}`)); // prettier-ignore
    assert.deepEqual(warnings, []);
  });

  it('a ResNet in an nn.Sequential is known by the order of its parts', () => {
    const order = ['conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4'];
    const numbered: State = new Map(
      [...resnet].map(([name, tensor]) => [
        name.replace(/^\w+/, (part) => String(order.indexOf(part))),
        tensor,
      ]),
    );
    const both = joined(prefixed('student_backbone.', numbered), prefixed('teacher_backbone.', numbered));
    const described = describeWeights(file(new Map<string, PthValue>([['state_dict', both]])));
    assert.deepEqual(
      [described.architecture.arch, described.network],
      ['resnet18', 'state_dict.teacher_backbone'],
    );
    assert.deepEqual(described.unused, []);
  });
});

describe('several networks', () => {
  const TEACHER = 5;
  const STUDENT = 2;
  for (const [name, teacher, student, keys] of [
    ['the reference', 'teacher.backbone.', 'student.module.backbone.', ['teacher', 'student']],
    ['lightly', 'teacher_backbone.', 'student_backbone.', ['teacher_backbone', 'student_backbone.']],
    ['solo-learn', 'momentum_backbone.', 'backbone.', ['momentum_backbone.', 'backbone']],
    ['MoCo', 'module.momentum_encoder.', 'module.base_encoder.', ['momentum_encoder', 'module.base_encoder']],
    ['older MoCo', 'module.encoder_k.', 'module.encoder_q.', ['encoder_k', 'encoder_q.']],
    ['BYOL', 'target_encoder.', 'online_encoder.', ['target_encoder', 'online_encoder']],
    ["timm's EMA", 'state_dict_ema.', 'state_dict.', ['state_dict_ema', 'state_dict']],
    ['an EMA of a model', 'model_ema.module.', 'model.', ['model_ema', 'model']],
  ] as const) {
    it(`of ${name}: the teacher's without a word, either by its name or its role`, () => {
      const both = joined(prefixed(student, marked(STUDENT)), prefixed(teacher, marked(TEACHER)));
      for (const weights of [file(both, 'safetensors'), file(new Map<string, PthValue>([['epoch', 1], ['state_dict', both]]))]) {
        assert.equal(taken(weights), TEACHER);
        assert.equal(taken(weights, keys[0]), TEACHER);
        assert.equal(taken(weights, keys[1]), STUDENT);
        assert.equal(taken(weights, 'teacher'), TEACHER);
        assert.equal(taken(weights, 'student'), STUDENT);
        const { notes, network, otherNetworks } = describeWeights(weights, { numHeads: 2 });
        assert.equal(notes.length, 1);
        assert.match(notes[0]!, /has 2 networks: .* is taken; --checkpoint-key takes another: /);
        assert.match(network!, new RegExp(teacher.replace(/^module\.|\.module|\.$/g, '').replace('.', '\\.')));
        assert.equal(otherNetworks.length, 1);
        // and the name that is told finds it
        assert.equal(taken(weights, otherNetworks[0]), STUDENT);
        assert.throws(() => taken(weights, 'nothing'), /has no network 'nothing'; it has /);
      }
    }); // prettier-ignore
  }

  it('that fit equally well are listed, and chosen by their names', () => {
    const both = joined(prefixed('left.', marked(1)), prefixed('right.', marked(2)));
    for (const weights of [
      file(both, 'safetensors'),
      file(new Map([['left', marked(1)], ['right', marked(2)]])), // prettier-ignore
    ]) {
      assert.throws(
        () => taken(weights),
        (error) =>
          error instanceof CheckpointError &&
          /has 2 networks, and it is not clear which one is meant: left, right\. Choose by --checkpoint-key/.test(error.message),
      );
      assert.deepEqual([taken(weights, 'left'), taken(weights, 'right.')], [1, 2]);
    } // prettier-ignore
  });

  it('in two parts of one model are two, though they lie at the same place of their files', () => {
    const place = path.join(folder, 'parts');
    mkdirSync(place);
    const parts = { 'a.safetensors': prefixed('left.', marked(1)), 'b.safetensors': prefixed('right.', marked(2)) };
    for (const [part, tensors] of Object.entries(parts)) writeSafetensors(path.join(place, part), tensors);
    const index = path.join(place, 'model.safetensors.index.json');
    const map = Object.entries(parts).flatMap(([part, tensors]) => [...tensors.keys()].map((name) => [name, part]));
    writeFileSync(index, JSON.stringify({ weight_map: Object.fromEntries(map) as Record<string, string> }));
    assert.throws(() => taken(index), /has 2 networks, and it is not clear which one is meant: left, right\./);
    assert.deepEqual([taken(index, 'left'), taken(index, 'right')], [1, 2]);
  }); // prettier-ignore

  it('a teacher that is damaged is refused, and not replaced by its student', () => {
    const broken = marked(TEACHER);
    broken.delete('norm.weight');
    const weights = file(new Map([['student', marked(STUDENT)], ['teacher', broken]])); // prettier-ignore
    assert.throws(() => taken(weights), /missing: norm\.weight/);
    assert.equal(taken(weights, 'student'), STUDENT);
  });

  it('one alone is taken and named; another that is asked for is not made up', () => {
    const weights = file(new Map([['student', prefixed('module.', marked(STUDENT))]]));
    assert.equal(taken(weights), STUDENT);
    assert.match(
      describeWeights(weights).notes.join(),
      /has one network, student: it is taken; there is no teacher's/,
    );
    assert.throws(() => taken(weights, 'teacher'), /has no network 'teacher'; it has student/);
  });
});

describe('what is not of the network', () => {
  const heads: State = new Map(
    ['head.weight', 'fc.bias', 'projector.0.weight', 'predictor.net.0.weight', 'mask_token', 'decoder_embed.weight'].map(
      (name): [string, Tensor] => [name, zeros([2, 2])],
    ),
  ); // prettier-ignore

  it('is listed as not used: heads, projectors, counters, optimizers', () => {
    const averaged = joined(prefixed('module.'), new Map([['n_averaged', ones([])]]));
    const { unused, warnings } = describeWeights(file(averaged), { numHeads: 2 });
    assert.deepEqual([unused, warnings], [['n_averaged'], []]);
    for (const prefix of ['', 'model.']) {
      const described = describeWeights(file(prefixed(prefix, joined(state, heads))), { numHeads: 2 });
      assert.deepEqual(described.unused, [...heads.keys()].map((name) => prefix + name)); // prettier-ignore
      assert.deepEqual(described.warnings, []);
      assert.match(formatDescription(described), /not used +(model \(6 tensors\)|head, fc, projector)/);
    }
  });

  it('is refused where it changes the features, and told of where that is not known', () => {
    for (const name of ['blocks.0.ls1.gamma', 'reg_token', 'norm_pre.weight', 'patch_embed.norm.weight', 'dist_token']) {
      const weights = file(prefixed('net.', joined(state, new Map([[name, zeros([12])]]))));
      assert.throws(() => taken(weights), /unexpected: |not read yet/, name);
      assert.throws(() => describeWeights(weights), CheckpointError, name);
    } // prettier-ignore
    const strange = file(joined(state, new Map([['adapter.weight', zeros([12])]])));
    assert.match(
      describeWeights(strange, { numHeads: 2 }).warnings.join(),
      /not used, although they may affect the features: adapter\.weight/,
    );
  });

  it('has the DINO head beside the network that is taken', () => {
    const head = (prefix: string, outputs: number): State =>
      new Map([
        [`${prefix}mlp.0.weight`, zeros([4, 4])],
        [`${prefix}last_layer.weight_v`, zeros([outputs, 4])],
      ]);
    for (const [network, beside] of [
      ['module.backbone.', 'module.head.'],
      ['teacher_backbone.', 'teacher_head.'],
      ['backbone._orig_mod.', 'head.'],
      ['', 'head.'],
    ] as const) {
      const whole = joined(prefixed(network), head(beside, 7), head('elsewhere.head.', 9));
      assert.equal(describeWeights(file(whole), { numHeads: 2 }).outDim, 7, network);
    }
    const newer = joined(
      prefixed('backbone.'),
      new Map([
        ['head.mlp.weight', zeros([4, 4])],
        ['head.last_layer.parametrizations.weight.original0', ones([7, 1])],
        ['head.last_layer.parametrizations.weight.original1', zeros([7, 4])],
      ]),
    );
    assert.equal(describeWeights(file(newer), { numHeads: 2 }).outDim, 7);
  });
});
