/**
 * L-BFGS for a function of one flat vector: Nocedal and Wright, "Numerical Optimization" (2006), algorithm 7.4 for the
 * direction, 3.5 and 3.6 for a step that satisfies the strong Wolfe conditions. It minimizes small smooth problems to high
 * precision (a classifier on fixed features); the optimizers of a training are beside it.
 */

/** A function's value and gradient at a point. */
export interface Evaluated {
  value: number;
  /** (n); not written to afterwards. */
  gradient: Float64Array;
}

export interface LbfgsOptions {
  /** Stop once no element of the gradient is larger; default 1e-6. */
  tolerance?: number;
  /** Default 500. */
  maxIterations?: number;
  /** Pairs of steps and changes of the gradient that the curvature is estimated from; default 10. */
  history?: number;
}

export interface LbfgsResult {
  /** (n) */
  x: Float64Array;
  value: number;
  /** Largest magnitude of an element of the gradient at `x`. */
  gradientMax: number;
  iterations: number;
  /** Calls of the function. */
  evaluations: number;
  /** Whether the tolerance was reached; otherwise rounding or `maxIterations` ended the search. */
  converged: boolean;
}

/** Sufficient decrease, and curvature; Nocedal and Wright's values for quasi-Newton directions. */
const [C1, C2] = [1e-4, 0.9];
/** Evaluations of one line search, bracketing and zooming each. */
const MOST_TRIES = 25;
/** Share of a value by which rounding may change it. */
const ROUNDING = 1e-14;

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function largest(values: Float64Array): number {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

/** A point of a line: its distance along the direction, and what is known there. */
interface Point extends Evaluated {
  at: number;
  x: Float64Array;
  /** Derivative along the direction. */
  slope: number;
}

/** The minimizer of the cubic through two points with their slopes, kept away from both by a tenth of their distance. */
function between(a: Point, b: Point): number {
  const theta = a.slope + b.slope - (3 * (a.value - b.value)) / (a.at - b.at);
  const root = Math.sign(b.at - a.at) * Math.sqrt(theta * theta - a.slope * b.slope);
  const cubic = b.at - ((b.at - a.at) * (b.slope + root - theta)) / (b.slope - a.slope + 2 * root);
  const [low, high] = [Math.min(a.at, b.at), Math.max(a.at, b.at)];
  const margin = 0.1 * (high - low);
  return Number.isFinite(cubic) ? Math.min(high - margin, Math.max(low + margin, cubic)) : (low + high) / 2;
}

/** Yields points, each for its value and gradient. */
type Search<R> = Generator<Float64Array, R, Evaluated>;

/** @returns A point that satisfies the strong Wolfe conditions, or the lowest one found; null when none is lower. */
function* lineSearch(
  start: Point,
  first: number,
  probe: (at: number) => Search<Point>,
): Search<Point | null> {
  const slack = ROUNDING * Math.abs(start.value);
  const isHigh = (point: Point): boolean =>
    !(point.value <= start.value + C1 * point.at * start.slope + slack);
  const isFlat = (point: Point): boolean => Math.abs(point.slope) <= -C2 * start.slope;

  function* zoom(from: Point, to: Point): Search<Point | null> {
    let [low, high] = [from, to];
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const point = yield* probe(Number.isFinite(high.value) ? between(low, high) : (low.at + high.at) / 2);
      if (isHigh(point) || point.value > low.value + slack) high = point;
      else {
        if (isFlat(point)) return point;
        if (point.slope * (high.at - low.at) >= 0) high = low;
        low = point;
      }
    }
    return low.at > 0 ? low : null;
  }

  let before = start;
  let at = first;
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const point = yield* probe(at);
    if (isHigh(point) || (tries > 0 && point.value >= before.value)) return yield* zoom(before, point);
    if (isFlat(point)) return point;
    if (point.slope >= 0) return yield* zoom(point, before);
    before = point;
    at *= 4;
  }
  return before.at > 0 ? before : null;
}

/** The product of the estimated inverse Hessian and the gradient, negated: the direction to search along. */
function directionOf(gradient: Float64Array, steps: readonly Pair[]): Float64Array {
  const direction = gradient.map((value) => -value);
  const shares: number[] = [];
  for (let i = steps.length - 1; i >= 0; i--) {
    const { step, change, product } = steps[i]!;
    const share = dot(step, direction) / product;
    shares[i] = share;
    for (let j = 0; j < direction.length; j++) direction[j]! -= share * change[j]!;
  }
  const last = steps.at(-1);
  if (last !== undefined) {
    const scale = last.product / dot(last.change, last.change);
    for (let j = 0; j < direction.length; j++) direction[j]! *= scale;
  }
  steps.forEach(({ step, change, product }, i) => {
    const share = shares[i]! - dot(change, direction) / product;
    for (let j = 0; j < direction.length; j++) direction[j]! += share * step[j]!;
  });
  return direction;
}

interface Pair {
  step: Float64Array;
  /** Of the gradient. */
  change: Float64Array;
  /** step · change, above 0. */
  product: number;
}

function* search(start: Float64Array, options: LbfgsOptions): Search<LbfgsResult> {
  const { tolerance = 1e-6, maxIterations = 500, history = 10 } = options;
  let x: Float64Array = start.slice();
  let { value, gradient } = yield x;
  let evaluations = 1;
  let iterations = 0;
  let steps: Pair[] = [];
  while (iterations < maxIterations && largest(gradient) > tolerance) {
    const direction = directionOf(gradient, steps);
    const from: Point = { at: 0, x, value, gradient, slope: dot(gradient, direction) };
    function* probe(at: number): Search<Point> {
      const place = from.x.map((element, i) => element + at * direction[i]!);
      evaluations++;
      const found = yield place;
      return { at, x: place, ...found, slope: dot(found.gradient, direction) };
    }
    // nothing is known of the scale before the first step
    const first = steps.length === 0 ? Math.min(1, 1 / Math.sqrt(dot(gradient, gradient))) : 1;
    const next = from.slope < 0 ? yield* lineSearch(from, first, probe) : null;
    if (next === null) {
      if (steps.length === 0) break;
      steps = []; // rounding has spoiled the estimate: once more along the gradient
      continue;
    }
    iterations++;
    const step = next.x.map((element, i) => element - from.x[i]!);
    const change = next.gradient.map((element, i) => element - from.gradient[i]!);
    const product = dot(step, change);
    if (product > 1e-16 * dot(change, change)) steps = [...steps, { step, change, product }].slice(-history);
    ({ x, value, gradient } = next);
  }
  const gradientMax = largest(gradient);
  return { x, value, gradientMax, iterations, evaluations, converged: gradientMax <= tolerance };
}

/**
 * Minimizes a function from `start`, which is not changed.
 * @param evaluate - Called with a new array each time, which it may keep.
 */
export function lbfgs(
  evaluate: (x: Float64Array) => Evaluated,
  start: Float64Array,
  options: LbfgsOptions = {},
): LbfgsResult {
  const searching = search(start, options);
  let next = searching.next();
  while (next.done !== true) next = searching.next(evaluate(next.value));
  return next.value;
}

/** The same for a function that takes long: signals and timers are handled between its calls. */
export async function lbfgsAsync(
  evaluate: (x: Float64Array) => Evaluated,
  start: Float64Array,
  options: LbfgsOptions = {},
): Promise<LbfgsResult> {
  const searching = search(start, options);
  let next = searching.next();
  while (next.done !== true) {
    await new Promise((resolve) => setImmediate(resolve));
    next = searching.next(evaluate(next.value));
  }
  return next.value;
}
