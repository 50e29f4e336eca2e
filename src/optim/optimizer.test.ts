import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CheckpointError } from '../errors.js';
import { noGrad, ones, Parameter, randn, tensor, type Tensor } from '../torch/index.js';
import { buildOptimizer, OPTIMIZERS, parameterGroups } from './index.js';

const shapes: readonly [string, number[]][] = [
  ['weight', [3, 4]],
  ['bias', [4]],
];

/** Two parameters of ones, and an optimizer on them. */
function setUp(name: (typeof OPTIMIZERS)[number]) {
  const parameters = shapes.map(([key, shape]) => [key, new Parameter(ones(shape))] as const);
  return { parameters, optimizer: buildOptimizer(name, parameterGroups(parameters)) };
}

for (const name of OPTIMIZERS) {
  test(`${name}: a saved state continues to the same bits; one that doesn't fit changes nothing`, () => {
    const gradients = Array.from({ length: 6 }, () => shapes.map(([, shape]) => randn(shape)));
    const [one, other] = [setUp(name), setUp(name)];
    const step = ({ parameters, optimizer }: typeof one, from: readonly Tensor[]): void => {
      for (const [i, [, parameter]] of parameters.entries()) parameter.grad = (from[i] as Tensor).clone();
      optimizer.step({ lr: 0.1, weightDecay: 0.01 });
    };
    for (const entry of gradients.slice(0, 3)) step(one, entry);
    other.optimizer.loadStateDict(one.optimizer.stateDict());
    noGrad(() => {
      for (const [i, [, parameter]] of other.parameters.entries())
        parameter.copy_((one.parameters[i] as (typeof one.parameters)[number])[1]);
    });
    for (const entry of gradients.slice(3)) {
      step(one, entry);
      step(other, entry);
    }
    for (const [i, [key, parameter]] of one.parameters.entries()) {
      assert.notDeepEqual(parameter.toArray(), ones(parameter.shape).toArray(), `${key} moved`);
      assert.deepEqual(other.parameters[i]?.[1].toArray(), parameter.toArray(), key);
    }

    const [slot] = [...one.optimizer.stateDict().keys()];
    const wrong = new Map(one.optimizer.stateDict())
      .set(slot as string, tensor([1, 2, 3, 4, 5]))
      .set('momentum.head', tensor([1]));
    assert.throws(
      () => setUp(name).optimizer.loadStateDict(wrong),
      (error: Error) =>
        error instanceof CheckpointError &&
        error.message.includes(`shape of ${slot}: expected [`) &&
        error.message.includes('unexpected: momentum.head'),
    );
  });

  test(`${name}: the device decides whether a step is taken: to the same bits, or not at all`, () => {
    const gradients = Array.from({ length: 3 }, () => shapes.map(([, shape]) => randn(shape)));
    const [plain, decided] = [setUp(name), setUp(name)];
    const step = ({ parameters, optimizer }: typeof plain, from: readonly Tensor[], taken?: Tensor): void => {
      for (const [i, [, parameter]] of parameters.entries()) parameter.grad = (from[i] as Tensor).clone();
      optimizer.step({ lr: 0.1, weightDecay: 0.01, taken });
    };
    const values = ({ parameters, optimizer }: typeof plain): number[][] =>
      [...parameters.map(([, parameter]) => parameter), ...optimizer.stateDict().values()].map((of) =>
        of.toArray(),
      );
    for (const entry of gradients) {
      step(plain, entry);
      step(decided, entry, tensor(1));
      assert.deepEqual(values(decided), values(plain));
      step(
        decided,
        shapes.map(([, shape]) => ones(shape).mul(NaN)),
        tensor(0),
      );
      assert.deepEqual(values(decided), values(plain));
    }
  });
}
