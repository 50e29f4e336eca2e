/** The method against the reference's results; test/fixtures/reference/README.md says how they were made. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildBackbone, DINOHead } from '../models/index.js';
import {
  cosineSchedule,
  type OptimizerName,
  parameterGroups,
  teacherTemperatureSchedule,
} from '../optim/index.js';
import { assertMatches, readFixture } from '../testing/fixtures.js';
import { hashValues } from '../testing/hash-fill.js';
import { hashCrops, hashState } from '../testing/training-state.js';
import type { Precision } from '../plain/precisions.js';
import { fromTypedArray, manualSeed, precisionProblem, scope } from '../torch/index.js';
import { DINOLoss, dinoStep, MultiCropWrapper, type StepResult, type TrainingState } from './index.js';

interface LossCase {
  outDim: number;
  crops: number;
  batch: number;
  warmupTeacherTemp: number;
  teacherTemp: number;
  warmupTeacherTempEpochs: number;
  nEpochs: number;
  studentTemp: number;
  centerMomentum: number;
  epochs: number[];
  losses: number[];
}

test('loss, gradient and centre match the reference to 1e-5', () => {
  const fixture = readFixture<LossCase>('loss');
  for (const [name, c] of Object.entries(fixture.cases)) {
    const { outDim, crops, batch, studentTemp, centerMomentum } = c;
    const loss = new DINOLoss({ outDim, crops, studentTemp, centerMomentum });
    const temperatures = teacherTemperatureSchedule({
      warmup: c.warmupTeacherTemp,
      final: c.teacherTemp,
      warmupEpochs: c.warmupTeacherTempEpochs,
      epochs: c.nEpochs,
    });
    for (const [call, epoch] of c.epochs.entries()) {
      const key = `${name}/${call}`;
      const student = fromTypedArray(hashValues(`${key}/student`, [crops * batch, outDim]), [
        crops * batch,
        outDim,
      ]);
      const teacher = fromTypedArray(hashValues(`${key}/teacher`, [2 * batch, outDim]), [2 * batch, outDim]);
      student.requiresGrad = true;
      const result = loss.forward(student, teacher, temperatures[epoch] as number);
      loss.updateCenter(teacher);
      result.loss.backward();
      const expected = c.losses[call] as number;
      assert.ok(
        Math.abs(result.loss.item() - expected) <= 1e-5 * expected,
        `${key}: loss ${result.loss.item()}`,
      );
      assertMatches(fixture, `${key}/grad`, student.grad ?? assert.fail(), { relative: 1e-5 });
      assertMatches(fixture, `${key}/center`, loss.center, { relative: 1e-5 });
    }
  }
});

type ScheduleCase = Record<string, number> & { values: number[] };
interface GroupCase {
  regularized: string[];
  notRegularized: string[];
  names: string[];
  stateNames: string[];
}

test('schedules match the reference to 1e-12', () => {
  const { cases } = readFixture<ScheduleCase>('schedules');
  let compared = 0;
  for (const [name, c] of Object.entries(cases)) {
    const options = c as never; // the fixture's fields have the options' names
    const actual = name.startsWith('cosine')
      ? cosineSchedule(options)
      : name.startsWith('teacher')
        ? teacherTemperatureSchedule(options)
        : null;
    if (actual === null) continue;
    compared++;
    assert.equal(actual.length, c.values.length, name);
    for (const [i, value] of c.values.entries()) {
      assert.ok(
        Math.abs((actual[i] as number) - value) <= 1e-12,
        `${name}[${i}]: ${actual[i]} is not ${value}`,
      );
    }
  }
  assert.ok(compared >= 10);
});

test('parameters, state names and optimizer groups match the reference, in its order', () => {
  const { cases } = readFixture<GroupCase>('schedules');
  const { model, head } = readFixture('training').header as { model: object; head: { outDim: number } };
  let compared = 0;
  for (const [name, c] of Object.entries(cases)) {
    const match = /^groups\/normLastLayer=(\w+)\/useBn=(\w+)$/.exec(name);
    if (match === null) continue;
    compared++;
    const backbone = buildBackbone({ arch: 'vit', ...model });
    const options = { ...head, normLastLayer: match[1] === 'true', useBn: match[2] === 'true' };
    const network = new MultiCropWrapper(backbone, new DINOHead({ inDim: backbone.embedDim, ...options }));
    const [regularized, rest] = parameterGroups(network.namedParameters());
    const names = (group: typeof rest) => group.parameters.map(([parameter]) => parameter);
    assert.deepEqual(names(regularized), c.regularized, name);
    assert.deepEqual(names(rest), c.notRegularized, name);
    assert.deepEqual(
      [...network.namedParameters()].map(([parameter]) => parameter),
      c.names,
    );
    assert.deepEqual([...network.stateDict().keys()], c.stateNames);
    network.dispose();
  }
  assert.ok(compared >= 2);
});

interface TrainingCase {
  settings: {
    batch: number;
    steps: number;
    stepsPerEpoch: number;
    epochs: number;
    globalCropsSize: number;
    localCropsSize: number;
    localCropsNumber: number;
    warmupTeacherTemp: number;
    teacherTemp: number;
    warmupTeacherTempEpochs: number;
    lr: number;
    minLr: number;
    warmupEpochs: number;
    weightDecay: number;
    weightDecayEnd: number;
    momentumTeacher: number;
    freezeLastLayer: number;
    clipGrad: number;
    normLastLayer: boolean;
    useBnInHead: boolean;
    optimizer: OptimizerName;
  };
  losses: number[];
  firstNorms: number[];
  undetermined: Record<string, [number, number]>;
}

const training = readFixture<TrainingCase>('training');

/** Ways of taking the same step with less memory. */
const ECONOMIES = [
  { microBatchSize: 0, activationCheckpointing: false },
  { microBatchSize: 3, activationCheckpointing: true },
];

/** By how much losses, as a share, and centres may differ in bfloat16, whose operands are rounded by up to 2^-9. */
const ROUNDED = { loss: 5e-3, center: 2e-3 };
/** The same with SGD, whose steps follow the size of the gradient: measured up to 2.3e-3, with AdamW 1.1e-3. */
const ROUNDED_SGD = { ...ROUNDED, center: 3e-3 };
/** The same where steps follow the size of the gradient closely. */
const ROUNDED_LARS = { loss: 2e-2, center: 1e-2 };

for (const [name, c] of Object.entries(training.cases)) {
  for (const economy of ECONOMIES) {
    if (economy.microBatchSize > 0 && c.settings.useBnInHead) continue; // batch statistics would be those of a part
    const how = economy.microBatchSize > 0 ? ', in parts and with checkpointed activations' : '';
    test(`ten whole steps end where the reference's do: ${name}${how}`, () => tenSteps(name, c, economy));
  }
  for (const precision of ['bf16-matmul', 'bf16'] as const) {
    const skip = precisionProblem(precision, 'cpu') ?? false;
    const allowed = name === 'lars' ? ROUNDED_LARS : name === 'sgd' ? ROUNDED_SGD : ROUNDED;
    test(`ten whole steps in ${precision} stay close to the reference's: ${name}`, { skip }, () => {
      takeSteps(c, ECONOMIES[0]!, precision, (step, { loss }, { loss: dinoLoss }) => {
        const off = Math.abs(loss / (c.losses[step] as number) - 1);
        assert.ok(off <= allowed.loss, `step ${step}: the loss is off by ${off} of it`);
        assertMatches(training, `${name}/center/${step}`, dinoLoss.center, { absolute: allowed.center });
      });
    });
  }
}

/** Takes the steps of a case. @param each - Called after each of them. */
function takeSteps(
  { settings: s }: TrainingCase,
  economy: (typeof ECONOMIES)[number],
  precision: Precision,
  each: (step: number, result: StepResult, state: TrainingState) => void,
): TrainingState {
  const header = training.header as { model: object; head: { outDim: number }; weightStd: number };
  manualSeed(0);
  const state = hashState({ ...header, ...s });
  const { epochs, stepsPerEpoch } = s;
  const lr = cosineSchedule({
    base: s.lr,
    final: s.minLr,
    epochs,
    stepsPerEpoch,
    warmupEpochs: s.warmupEpochs,
  });
  const wd = cosineSchedule({ base: s.weightDecay, final: s.weightDecayEnd, epochs, stepsPerEpoch });
  const momentum = cosineSchedule({ base: s.momentumTeacher, final: 1, epochs, stepsPerEpoch });
  const temperature = teacherTemperatureSchedule({
    warmup: s.warmupTeacherTemp,
    final: s.teacherTemp,
    warmupEpochs: s.warmupTeacherTempEpochs,
    epochs,
  });
  for (let step = 0; step < s.steps; step++) {
    const epoch = Math.floor(step / stepsPerEpoch);
    const result = scope(() =>
      dinoStep(state, hashCrops(step, s), {
        epoch,
        lr: lr[step] as number,
        weightDecay: wd[step] as number,
        momentum: momentum[step] as number,
        teacherTemp: temperature[epoch] as number,
        clipGrad: s.clipGrad,
        freezeLastLayer: s.freezeLastLayer,
        ...economy,
        precision,
        measure: false,
      }),
    );
    each(step, result, state);
  }
  return state;
}

function tenSteps(name: string, c: TrainingCase, economy: (typeof ECONOMIES)[number]): void {
  const { student, teacher } = takeSteps(c, economy, 'fp32', (step, result, state) => {
    const expected = c.losses[step] as number;
    assert.ok(
      Math.abs(result.loss - expected) <= 1e-5 * expected,
      `step ${step}: loss ${result.loss}, not ${expected}`,
    );
    assertMatches(training, `${name}/center/${step}`, state.loss.center, { absolute: 1e-5 });
    if (step > 0) return;
    assert.equal(result.norms.length, c.firstNorms.length);
    const undetermined = [...state.student.namedParameters()]
      .filter(([, parameter]) => parameter.requiresGrad)
      .map(([parameter]) => parameter in c.undetermined);
    for (const [i, norm] of c.firstNorms.entries()) {
      if (undetermined[i]) continue; // rounding noise around a gradient of zero
      assert.ok(
        Math.abs((result.norms[i] as number) - norm) <= 1e-5 * norm + 1e-7,
        `norm ${i}: ${result.norms[i]}, not ${norm}`,
      );
    }
  });
  let compared = 0;
  for (const [who, network] of Object.entries({ student, teacher })) {
    for (const [key, tensor] of network.stateDict()) {
      if (!training.tensors.has(`${name}/${who}/${key}`)) continue;
      compared++;
      const except = c.undetermined[key] ?? [0, 0];
      assertMatches(training, `${name}/${who}/${key}`, tensor, { absolute: 1e-5, except });
    }
  }
  assert.ok(compared >= 2 * [...student.namedParameters()].length);
}
