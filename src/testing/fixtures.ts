/**
 * For tests: reads test/fixtures/reference (format: its README.md) without the engine, and compares tensors with it.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const folder = new URL('../../test/fixtures/reference/', import.meta.url);

export interface FixtureTensor {
  /** Of the whole tensor. */
  shape: readonly number[];
  /** Elements 0, stride, 2 * stride, ... of the row-major order; all of them when stride is 1. */
  data: Float32Array;
  stride: number;
  /** Of the whole tensor, in float64. */
  sum: number;
  absSum: number;
}

export interface Fixture<Case> {
  /** Everything in the JSON except `cases` and `tensors`. */
  header: Readonly<Record<string, unknown>>;
  cases: Readonly<Record<string, Case>>;
  tensors: ReadonlyMap<string, FixtureTensor>;
}

interface FixtureDocument<Case> {
  cases: Record<string, Case>;
  tensors?: Record<string, Omit<FixtureTensor, 'data'>>;
}

/** @param name - File name without its extension: 'vit', 'head', 'loss', ... */
export function readFixture<Case>(name: string): Fixture<Case> {
  const text = readFileSync(new URL(`${name}.json`, folder), 'utf8');
  const { cases, tensors: described = {}, ...header } = JSON.parse(text) as FixtureDocument<Case>;
  const tensors = new Map<string, FixtureTensor>();
  if (Object.keys(described).length > 0) {
    const bytes = readFileSync(new URL(`${name}.safetensors`, folder));
    const headerEnd = 8 + Number(bytes.readBigUInt64LE());
    const index = JSON.parse(bytes.toString('utf8', 8, headerEnd)) as Record<
      string,
      { dtype: string; data_offsets: [number, number] }
    >;
    for (const [key, description] of Object.entries(described)) {
      const entry = index[key];
      assert.ok(entry?.dtype === 'F32', `${name}.safetensors: expected a float32 tensor ${key}`);
      const [begin, end] = entry.data_offsets;
      // copied, because the header's length may leave the data unaligned
      const data = new Float32Array(
        new Uint8Array(bytes.subarray(headerEnd + begin, headerEnd + end)).buffer,
      );
      tensors.set(key, { ...description, data });
    }
  }
  return { header, cases, tensors };
}

/** What is compared: a Tensor, or anything like one. */
export interface TensorLike {
  readonly shape: readonly number[];
  toTypedArray(): ArrayLike<number> | ArrayLike<bigint>;
}

export interface Tolerance {
  /** Largest difference of an element. */
  absolute?: number;
  /** Largest difference of an element, as a fraction of the tensor's largest magnitude. */
  relative?: number;
  /** Elements [begin, end) of the row-major order that are left out; sums are then not compared. */
  except?: readonly [begin: number, end: number];
}

/**
 * Asserts that a tensor matches the fixture's within a tolerance: its shape, the stored elements, and the means of its
 * elements and of their magnitudes.
 *
 * @returns The largest difference found among the stored elements.
 */
export function assertMatches(
  fixture: Fixture<unknown>,
  name: string,
  actual: TensorLike,
  { absolute = 0, relative = 0, except = [0, 0] }: Tolerance,
): number {
  const expected = fixture.tensors.get(name);
  assert.ok(expected, `no tensor ${name} in the fixture`);
  assert.deepEqual([...actual.shape], [...expected.shape], `${name}: shape`);
  const values = actual.toTypedArray();
  const largest = expected.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const allowed = absolute + relative * largest;
  const [begin, end] = except;
  let worst = 0;
  for (let i = 0; i < expected.data.length; i++) {
    const at = i * expected.stride;
    if (at >= begin && at < end) continue;
    const difference = Math.abs(Number(values[at]) - (expected.data[i] as number));
    assert.ok(
      difference <= allowed,
      `${name}[${at}]: expected ${expected.data[i]}, got ${values[at]}, off by ${difference}, allowed ${allowed}`,
    );
    worst = Math.max(worst, difference);
  }
  if (end > begin) return worst;
  let sum = 0;
  let absSum = 0;
  for (let i = 0; i < values.length; i++) {
    const value = Number(values[i]);
    sum += value;
    absSum += Math.abs(value);
  }
  for (const [what, got, want] of [
    ['mean', sum, expected.sum],
    ['mean magnitude', absSum, expected.absSum],
  ] as const) {
    const difference = Math.abs(got - want) / values.length;
    assert.ok(difference <= allowed, `${name}: ${what} is off by ${difference}, allowed ${allowed}`);
  }
  return worst;
}
