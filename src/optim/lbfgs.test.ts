/** L-BFGS on functions whose minima are known. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { lbfgs } from './lbfgs.js';

/** Rosenbrock's valley in n dimensions; its minimum is 0 at (1, ..., 1). */
function rosenbrock(x: Float64Array) {
  const gradient = new Float64Array(x.length);
  let value = 0;
  for (let i = 0; i + 1 < x.length; i++) {
    const [a, b] = [x[i + 1]! - x[i]! ** 2, 1 - x[i]!];
    value += 100 * a * a + b * b;
    gradient[i]! += -400 * x[i]! * a - 2 * b;
    gradient[i + 1]! += 200 * a;
  }
  return { value, gradient };
}

describe('lbfgs', () => {
  it('follows a curved valley to its minimum', () => {
    const start = Float64Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? -1.2 : 1));
    const { x, value, converged, gradientMax, evaluations } = lbfgs(rosenbrock, start, { tolerance: 1e-9 });
    assert.ok(converged && gradientMax <= 1e-9, String(gradientMax));
    assert.ok(value < 1e-15 && evaluations < 300, `${value} ${evaluations}`);
    for (const element of x) assert.ok(Math.abs(element - 1) < 1e-7);
    assert.equal(start[0], -1.2);
  });

  it('finds the minimum of an ill-conditioned quadratic, whatever the scale of its value', () => {
    const scales = Float64Array.from({ length: 50 }, (_, i) => 10 ** ((3 * i) / 49));
    for (const size of [1e-6, 1, 1e6]) {
      const { x, converged } = lbfgs(
        (at) => ({
          value: size * at.reduce((sum, each, i) => sum + 0.5 * scales[i]! * (each - i) ** 2, 0),
          gradient: at.map((each, i) => size * scales[i]! * (each - i)),
        }),
        new Float64Array(50),
        { tolerance: 1e-8 * size, maxIterations: 1000 },
      );
      assert.ok(converged);
      x.forEach((element, i) => assert.ok(Math.abs(element - i) < 1e-7, `${i}: ${element}`));
    }
  });

  it('shortens a step into where the function is not finite, and lengthens one that is too short', () => {
    // -log x + x / 1000: infinite below 0, minimum at 1000
    const { x, converged } = lbfgs(
      ([at = 0]) => ({
        value: at > 0 ? -Math.log(at) + at / 1000 : Infinity,
        gradient: Float64Array.of(-1 / at + 1 / 1000),
      }),
      Float64Array.of(0.001),
      { tolerance: 1e-10 },
    );
    assert.ok(converged);
    assert.ok(Math.abs(x[0]! - 1000) < 1e-3, String(x[0]));
  });

  it('ends where it can get no lower, and says whether that is a minimum', () => {
    const limited = lbfgs(rosenbrock, Float64Array.of(-1.2, 1), { maxIterations: 3 });
    assert.deepEqual([limited.iterations, limited.converged], [3, false]);
    const there = lbfgs(rosenbrock, Float64Array.of(1, 1));
    assert.deepEqual([there.iterations, there.evaluations, there.converged], [0, 1, true]);
    // a gradient that lies: no step along it goes down
    const lying = lbfgs(([at = 0]) => ({ value: at, gradient: Float64Array.of(-1) }), Float64Array.of(0));
    assert.equal(lying.converged, false);
  });
});
