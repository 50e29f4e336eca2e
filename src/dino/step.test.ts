/** What a step guarantees beyond the reference's numbers: half precision, less memory, no change when it fails. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hashCrops, hashState } from '../testing/training-state.js';
import { liveTensors, manualSeed, precisionProblem, scope, tensor } from '../torch/index.js';
import { dinoStep, type StepSettings, type TrainingState } from './index.js';

const SIZES = {
  model: { embedDim: 64, depth: 3, numHeads: 2, patchSize: 8, imgSize: 32 },
  head: { outDim: 128, hiddenDim: 64, bottleneckDim: 32, nlayers: 3 },
  weightStd: 0.1,
  batch: 5,
  globalCropsSize: 32,
  localCropsSize: 16,
  localCropsNumber: 3,
};
const STEP: StepSettings = {
  epoch: 1,
  lr: 1e-3,
  weightDecay: 0.04,
  momentum: 0.9,
  teacherTemp: 0.04,
  clipGrad: 0,
  freezeLastLayer: 0,
  microBatchSize: 0,
  activationCheckpointing: false,
  precision: 'fp32',
  measure: true,
};

const step = (state: TrainingState, settings: Partial<StepSettings> = {}, at = 0) =>
  scope(() => dinoStep(state, hashCrops(at, SIZES), { ...STEP, ...settings }));

const weights = (network: TrainingState['student']): number[] =>
  [...network.parameters()].flatMap((parameter) => Array.from(parameter.toArray()));

const largestDifference = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((value, i) => Math.abs(value - (b[i] as number))));

/** By how much a loss may differ: 2^-11 and 2^-8 per product. */
const TOLERANCES = { 'bf16-matmul': 2e-2, bf16: 2e-2, fp16: 2e-3 } as const;

for (const precision of ['bf16-matmul', 'bf16', 'fp16'] as const) {
  const skip = precision === 'bf16-matmul' ? (precisionProblem(precision, 'cpu') ?? false) : false;
  test(
    `${precision}: loss and gradients are close to float32's; the loss itself is computed in float32`,
    { skip },
    () => {
      const exact = step(hashState(SIZES));
      const state = hashState({ ...SIZES, fp16: precision === 'fp16' });
      state.scaler.setState(tensor([precision === 'fp16' ? 1024 : 1, 0], { dtype: 'float64' })); // 65536 overflows here
      const half = step(state, { precision });
      const tolerance = TOLERANCES[precision];
      assert.ok(Math.abs(half.loss - exact.loss) <= tolerance * exact.loss, `${half.loss}, ${exact.loss}`);
      assert.notEqual(half.loss, exact.loss);
      for (const [i, norm] of exact.norms.entries()) {
        const got = half.norms[i] as number;
        assert.ok(Math.abs(got - norm) <= 20 * tolerance * norm + 1e-4, `norm ${i}: ${got}, not ${norm}`);
      }
      assert.equal(half.finite, true);
    },
  );
}

test('float16: gradients that overflow skip the step and halve the scale; teacher and centre are still updated', () => {
  const state = hashState({ ...SIZES, fp16: true });
  state.scaler.setState(tensor([1024, 0], { dtype: 'float64' }));
  step(state, { precision: 'fp16' }); // student and teacher diverge
  state.scaler.setState(tensor([2 ** 60, 0], { dtype: 'float64' }));
  const [student, teacher, center] = [
    weights(state.student),
    weights(state.teacher),
    state.loss.center.toArray(),
  ];
  const result = step(state, { precision: 'fp16' }, 1);
  assert.equal(result.finite, true, 'an overflow is not a failure');
  assert.ok(result.norms.some((norm) => !Number.isFinite(norm)));
  assert.equal(state.scaler.scale, 2 ** 59);
  assert.deepEqual(weights(state.student), student);
  assert.notDeepEqual(weights(state.teacher), teacher);
  assert.notDeepEqual(state.loss.center.toArray(), center);
});

test('checkpointed activations give the same step, including dropped paths', () => {
  const run = (activationCheckpointing: boolean): [TrainingState, number[]] => {
    const state = hashState({ ...SIZES, dropPathRate: 0.5 });
    manualSeed(7);
    const losses = [0, 1, 2].map((at) => step(state, { activationCheckpointing }, at).loss);
    return [state, losses];
  };
  const [plain, losses] = run(false);
  const [economical, same] = run(true);
  assert.deepEqual(same.slice(0, 1), losses.slice(0, 1), 'the first forward pass is the same to the bit');
  assert.ok(largestDifference(same, losses) < 1e-4);
  // Adam turns gradients that are noise around 0 into steps of the learning rate's size: tolerate a few such weights
  const [expected, got] = [weights(plain.student), weights(economical.student)];
  const difference = expected.map((value, i) => Math.abs(value - (got[i] as number)));
  const far = difference.filter((value) => value > 1e-5).length;
  assert.ok(far < 0.01 * difference.length, `${far} of ${difference.length} weights differ`);
});

test('a loss that is not finite, in any part of the batch, changes nothing', () => {
  const state = hashState(SIZES);
  step(state, { measure: false });
  const before = [weights(state.student), weights(state.teacher), state.loss.center.toArray()];
  const live = liveTensors();
  const result = scope(() => {
    const [globals, locals] = hashCrops(1, SIZES);
    globals.select(0, 4).fill_(NaN); // the last image, so that the parts before it already have gradients
    return dinoStep(state, [globals, locals], { ...STEP, microBatchSize: 2 });
  });
  assert.equal(result.finite, false);
  assert.deepEqual([weights(state.student), weights(state.teacher), state.loss.center.toArray()], before);
  for (const [name, parameter] of state.student.namedParameters()) assert.equal(parameter.grad, null, name);
  assert.equal(liveTensors(), live, 'nothing is left over');
});
