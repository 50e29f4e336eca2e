import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CheckpointError } from '../errors.js';
import { liveTensors, ones, Parameter, scope, tensor, zeros, type Tensor } from '../torch/index.js';
import {
  BatchNorm,
  Dropout,
  GELU,
  Identity,
  Layer,
  Linear,
  Module,
  ModuleList,
  Sequential,
} from './index.js';

/** A child before own parameters, a buffer between them, a list, a sequence: every rule of PyTorch's order at once. */
class Net extends Module {
  readonly stem = new Linear(2, 3);
  readonly scale = new Parameter(ones([3]));
  readonly mean = zeros([3]).keep();
  readonly shift = new Parameter(zeros([3]));
  readonly none: Parameter | null = null;
  readonly blocks = new ModuleList([new Linear(3, 3, { bias: false }), new BatchNorm(3)]);
  readonly mlp = new Sequential([
    new Linear(3, 4),
    new GELU(),
    new Dropout(0.5),
    new Identity(),
    new Linear(4, 1),
  ]);
  readonly width = 3;
}

// from the same net in PyTorch
const STATE = [
  'scale',
  'shift',
  'mean',
  'stem.weight',
  'stem.bias',
  'blocks.0.weight',
  'blocks.1.weight',
  'blocks.1.bias',
  'blocks.1.running_mean',
  'blocks.1.running_var',
  'blocks.1.num_batches_tracked',
  'mlp.0.weight',
  'mlp.0.bias',
  'mlp.4.weight',
  'mlp.4.bias',
];

describe('names and order match PyTorch’s', () => {
  const net = new Net();
  test('state', () => assert.deepEqual([...net.stateDict().keys()], STATE));
  test('parameters and buffers', () => {
    const buffers = STATE.filter((name) => /mean|var|tracked/.test(name));
    assert.deepEqual(
      [...net.namedBuffers()].map(([name]) => name),
      buffers,
    );
    assert.deepEqual(
      [...net.namedParameters()].map(([name]) => name),
      STATE.filter((name) => !buffers.includes(name)),
    );
    assert.equal([...net.parameters()].length, STATE.length - buffers.length);
  });
  test('modules', () => {
    assert.deepEqual(
      [...net.namedModules()].map(([name]) => name),
      ['', 'stem', 'blocks', 'blocks.0', 'blocks.1', 'mlp', 'mlp.0', 'mlp.1', 'mlp.2', 'mlp.3', 'mlp.4'],
    );
  });
  test('lists', () => {
    assert.equal(net.blocks.length, 2);
    assert.equal(net.blocks.at(-1), [...net.blocks][1]);
  });
});

describe('loadStateDict', () => {
  const values = (net: Net): Map<string, Tensor> =>
    new Map([...net.stateDict()].map(([name, value]) => [name, value.detach().clone()]));

  test('copies a whole state, also from another dtype', () => {
    const [from, into] = [new Net(), new Net()];
    const state = values(from);
    state.set('stem.weight', state.get('stem.weight')!.to('float64'));
    const before = into.stem.weight;
    assert.deepEqual(into.loadStateDict(state), { missing: [], unexpected: [] });
    assert.equal(into.stem.weight, before);
    assert.equal(into.stem.weight.dtype, 'float32');
    for (const [name, value] of into.stateDict()) {
      assert.deepEqual(value.toArray(), from.stateDict().get(name)!.toArray(), name);
    }
  });

  test('names everything that is wrong in one error, and changes nothing', () => {
    const net = new Net();
    const before = net.scale.toArray();
    const state = values(net);
    state.set('scale', ones([3]).mul(7));
    state.delete('shift');
    state.delete('mlp.4.bias');
    state.set('extra', ones([1]));
    state.set('stem.weight', ones([3, 5]));
    assert.throws(
      () => net.loadStateDict(state),
      (error) => {
        assert.ok(error instanceof CheckpointError);
        for (const part of [
          'Net',
          'missing: shift',
          'missing: mlp.4.bias',
          'unexpected: extra',
          'shape of stem.weight: expected [3, 2], got [3, 5]',
        ]) {
          assert.ok(error.message.includes(part), `${part} in ${error.message}`);
        }
        return true;
      },
    );
    assert.deepEqual(net.scale.toArray(), before);
  });

  test('if not strict, missing and unexpected names are returned; a wrong shape is still refused', () => {
    const net = new Net();
    const state = new Map<string, Tensor>([
      ['scale', tensor([1, 2, 3])],
      ['other', ones([1])],
    ]);
    const { missing, unexpected } = net.loadStateDict(state, { strict: false });
    assert.deepEqual(
      missing,
      STATE.filter((name) => name !== 'scale'),
    );
    assert.deepEqual(unexpected, ['other']);
    assert.deepEqual(net.scale.toArray(), [1, 2, 3]);
    assert.throws(
      () => net.loadStateDict(new Map([['scale', ones([4])]]), { strict: false }),
      CheckpointError,
    );
  });
});

test('train and eval reach every module', () => {
  const net = new Net();
  const modes = (): Set<boolean> => new Set([...net.namedModules()].map(([, module]) => module.training));
  assert.deepEqual(modes(), new Set([true]));
  assert.equal(net.eval(), net);
  assert.deepEqual(modes(), new Set([false]));
  net.train();
  assert.deepEqual(modes(), new Set([true]));
});

test('to() changes the dtype of floating-point state, but not of counts, and keeps requiresGrad', () => {
  const net = new Net();
  net.shift.requiresGrad = false;
  const { scale } = net;
  net.to('cpu');
  assert.equal(net.scale, scale);
  net.to('bfloat16');
  for (const [name, value] of net.stateDict()) {
    assert.equal(value.dtype, name.endsWith('tracked') ? 'int64' : 'bfloat16', name);
  }
  assert.ok(scale.isDisposed);
  assert.ok(net.scale instanceof Parameter && net.scale.requiresGrad);
  assert.equal(net.shift.requiresGrad, false);
  assert.deepEqual([...net.stateDict().keys()], STATE);
});

test('parameters outlive the scope that built them, and dispose frees all of them', () => {
  const before = liveTensors();
  const net = scope(() => new Net());
  assert.equal(net.stem.forward(ones([1, 2])).shape[1], 3);
  assert.equal(liveTensors(), before + STATE.length + 2); // the input and the output just above
  net.dispose();
  assert.equal(liveTensors(), before + 2);
});

test('a sequence passes its input from layer to layer', () => {
  class AddOne extends Layer {
    override forward(x: Tensor): Tensor {
      return x.add(1);
    }
  }
  const chain = new Sequential([new AddOne(), new Identity(), new AddOne()]);
  assert.deepEqual(chain.forward(zeros([2])).toArray(), [2, 2]);
});
