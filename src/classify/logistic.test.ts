/** Logistic regression against scikit-learn's (tools/fixtures/make_logistic_fixture.py). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { probabilitiesOf } from '../plain/classifier-head.js';
import { hashValues } from '../testing/hash-fill.js';
import { liveTensors } from '../torch/index.js';
import { classWeights } from './folds.js';
import { LogisticProblem } from './logistic.js';
import { argmax, makeReport } from './report.js';
import { scaleRows } from './scaling.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

interface Case {
  name: string;
  count: number;
  width: number;
  classes: number;
  c: number;
  balanced: boolean;
  skewed: boolean;
  scaled: boolean;
  coefficients: number[];
  intercepts: number[];
  probabilities: number[];
  right: number;
  balancedAccuracy: number;
  precision: number[];
  recall: number[];
  confusion: number[][];
}

const file = new URL('../../test/fixtures/eval/logistic.json', import.meta.url);
const { cases } = JSON.parse(readFileSync(file, 'utf8')) as { cases: Case[] };

function labelsOf({ count, classes, skewed }: Case): number[] {
  const turn = Array.from({ length: count }, (_, i) =>
    skewed ? Math.min(classes - 1, Math.floor(Math.log2(1 + (i % (2 ** classes - 1))))) : i % classes,
  );
  return skewed ? turn.reverse() : turn;
}

function rowsOf({ name, count, width, classes }: Case, labels: readonly number[]): Float32Array {
  const centres = hashValues('centres', [classes, width]);
  const noise = hashValues(name, [count, width]);
  return noise.map((value, i) => {
    const d = i % width;
    const row = centres[labels[Math.floor(i / width)]! * width + d]! + 1.5 * value;
    return row * 10 ** ((d / width) * 2 - 1) + 0.3;
  });
}

const near = (actual: number, expected: number, tolerance: number, what: string) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${what}: ${actual}, expected ${expected}`);

describe('LogisticProblem', () => {
  for (const one of cases) {
    it(`has scikit-learn's coefficients, probabilities and measures: ${one.name}`, () => {
      const { width, classes, c } = one;
      const before = liveTensors();
      const labels = labelsOf(one);
      const scaled = scaleRows(rowsOf(one, labels), width, one.scaled ? 'standardize' : 'none');
      const ofClass = classWeights(labels, classes, one.balanced ? 'balanced' : 'none');
      using problem = new LogisticProblem(scaled.rows, width, labels, classes);
      const fit = problem.fit({
        c,
        weights: Float64Array.from(labels, (label) => ofClass[label]!),
        tolerance: 1e-9,
      });
      assert.ok(fit.converged && fit.iterations < 300, String(fit.iterations));
      const { weight, bias } = problem.layer(fit);
      // scikit-learn has one vector for two classes
      const difference = (values: Float64Array): Float64Array =>
        classes > 2 ? values : values.subarray(values.length / 2).map((value, i) => value - values[i]!);
      const largest = Math.max(...one.coefficients.map(Math.abs));
      difference(weight).forEach((value, i) =>
        near(value, one.coefficients[i]!, 2e-5 * largest, `weight ${i}`),
      );
      const shift = (one.intercepts[0] ?? 0) - difference(bias)[0]!;
      if (classes > 2) near(shift, 0, 1e-4, 'intercepts sum to 0 as there');
      difference(bias).forEach((value, i) => near(value, one.intercepts[i]!, 1e-4, `bias ${i}`));
      const logits = problem.logits(fit);
      one.probabilities.forEach((expected, i) => {
        const row = Math.floor(i / classes);
        const p = probabilitiesOf(logits.subarray(row * classes, (row + 1) * classes), 1);
        near(p[i % classes]!, expected, 1e-5, `probability ${i}`);
      });
      const paths = labels.map((_, i) => String(i));
      const names = Array.from({ length: classes }, (_, i) => `class ${i}`);
      const report = makeReport('validation', { logits, labels, paths }, names, labels, 1);
      assert.deepEqual(report.confusion, one.confusion);
      assert.equal(report.images - report.mistakes.length, one.right);
      near(report.balancedAccuracy, one.balancedAccuracy, 1e-9, 'balanced accuracy');
      report.classes.forEach(({ precision, recall }, i) => {
        near(precision ?? 0, one.precision[i]!, 1e-9, `precision ${i}`);
        near(recall ?? 0, one.recall[i]!, 1e-9, `recall ${i}`);
      });
      problem.dispose();
      noTensorLeft(before);
    });
  }

  it('gives the same layer on the features as on scaled rows', () => {
    const [one] = cases as [Case];
    const labels = labelsOf(one);
    const rows = rowsOf(one, labels);
    const scaled = scaleRows(rows, one.width, 'standardize');
    using problem = new LogisticProblem(scaled.rows, one.width, labels, one.classes);
    const fit = problem.fit({ c: 1 });
    const { weight, bias } = scaled.toFeatures(problem.layer(fit));
    const logits = problem.logits(fit);
    for (let row = 0; row < one.count; row++)
      for (let c = 0; c < one.classes; c++) {
        let sum = bias[c]!;
        for (let d = 0; d < one.width; d++) sum += weight[c * one.width + d]! * rows[row * one.width + d]!;
        near(sum, logits[row * one.classes + c]!, 1e-4, `logit ${row} ${c}`);
      }
  });

  it('ends at the same place from another start, and with rows that count twice as with rows that are there twice', () => {
    const [one] = cases as [Case];
    const labels = labelsOf(one);
    const rows = rowsOf(one, labels);
    using problem = new LogisticProblem(rows, one.width, labels, one.classes);
    const start = problem.fit({ c: 1e-3 });
    const cold = problem.layer(problem.fit({ c: 10, tolerance: 1e-9 }));
    const warm = problem.layer(problem.fit({ c: 10, tolerance: 1e-9, start }));
    cold.weight.forEach((value, i) => near(warm.weight[i]!, value, 1e-5, `weight ${i}`));
    const twice = Float32Array.from([...rows, ...rows.subarray(0, 10 * one.width)]);
    using longer = new LogisticProblem(twice, one.width, [...labels, ...labels.slice(0, 10)], one.classes);
    const weights = Float64Array.from(labels, (_, i) => (i < 10 ? 2 : 1));
    const counted = problem.layer(problem.fit({ c: 1, weights, tolerance: 1e-9 }));
    const listed = longer.layer(longer.fit({ c: 1, tolerance: 1e-9 }));
    counted.weight.forEach((value, i) => near(listed.weight[i]!, value, 1e-5, `weight ${i}`));
  });

  it('takes rows that are all the same, or separable', () => {
    using same = new LogisticProblem(new Float32Array(40).fill(2), 10, [0, 1, 1, 1], 2);
    const logits = same.logits(same.fit({ c: 1 }));
    near(probabilitiesOf(logits.subarray(0, 2), 1)[1]!, 0.75, 1e-5, 'the share of the class');
    using apart = new LogisticProblem(Float32Array.of(-2, -1, 1, 2), 1, [0, 0, 1, 1], 2);
    const fit = apart.fit({ c: 1e6 });
    assert.ok(fit.converged);
    assert.deepEqual(
      [0, 1, 2, 3].map((i) => argmax(apart.logits(fit).subarray(2 * i, 2 * i + 2))),
      [0, 0, 1, 1],
    );
  });
});
