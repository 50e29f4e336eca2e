/**
 * For tests, in a separate process or worker so that the level of instructions can be chosen before libtorch loads:
 * computes products of the same values at different memory addresses and prints, as a JSON list, each operator whose result
 * is not the same to the bit.
 */
import { isMainThread, parentPort } from 'node:worker_threads';
import {
  attentionResidual,
  inferenceMode,
  linear,
  ops,
  perceptronResidual,
  rand,
  scope,
  setNumThreads,
  type Tensor,
  withMatmulPrecision,
  zeros,
} from '../torch/index.js';

/** Distances from an aligned address, in float32 elements: 4, 16, 32, 64 and more bytes. */
const OFFSETS = [0, 1, 3, 4, 8, 16, 48, 1040];
/** Rows, columns and inner length of the products. */
const SHAPES = [
  [1, 64, 64],
  [2, 384, 384],
  [3, 48, 768],
  [6, 1536, 384],
  [17, 33, 100],
  [197, 384, 384],
] as const;

type Operands = Record<string, Tensor>;
interface Case {
  name: string;
  operands: Operands;
  run: (at: Operands) => Tensor;
}

function cases(): Case[] {
  const found: Case[] = [];
  for (const [m, n, k] of SHAPES) {
    const shape = `${m} x ${k} by ${k} x ${n}`;
    const operands = { a: rand([m, k]), b: rand([k, n]), w: rand([n, k]), bias: rand([n]) };
    found.push({ name: `mm ${shape}`, operands, run: ({ a, b }) => a!.mm(b!) });
    found.push({ name: `linear ${shape}`, operands, run: ({ a, w, bias }) => ops.linear(a!, w!, bias) });
    found.push({
      name: `linear of our own ${shape}`,
      operands,
      run: ({ a, w, bias }) => linear(a!, w!, bias),
    });
    found.push({ name: `bmm ${shape}`, operands, run: ({ a, b }) => a!.unsqueeze(0).bmm(b!.unsqueeze(0)) });
  }
  const [d, f] = [48, 192];
  const norm = { weight: rand([d]), bias: rand([d]) };
  const block = {
    x: rand([2, 13, d]),
    ...norm,
    qkv: rand([3 * d, d]),
    qkvBias: rand([3 * d]),
    proj: rand([d, d]),
    projBias: rand([d]),
  };
  const all = { kept: null, scale: 1 };
  found.push({
    name: 'attention half',
    operands: block,
    run: ({ x, weight, bias, qkv, qkvBias, proj, projBias }) =>
      attentionResidual(
        x!,
        { weight: weight!, bias: bias!, eps: 1e-6 },
        { weight: qkv!, bias: qkvBias! },
        { weight: proj!, bias: projBias! },
        4,
        all,
      ),
  });
  const mlp = {
    x: rand([2, 13, d]),
    ...norm,
    fc1: rand([f, d]),
    fc1Bias: rand([f]),
    fc2: rand([d, f]),
    fc2Bias: rand([d]),
  };
  found.push({
    name: 'perceptron half',
    operands: mlp,
    run: ({ x, weight, bias, fc1, fc1Bias, fc2, fc2Bias }) =>
      perceptronResidual(
        x!,
        { weight: weight!, bias: bias!, eps: 1e-6 },
        { weight: fc1!, bias: fc1Bias! },
        { weight: fc2!, bias: fc2Bias! },
        all,
      ),
  });
  found.push({
    name: 'conv2d',
    operands: { x: rand([2, 3, 33, 21]), w: rand([16, 3, 3, 3]), bias: rand([16]) },
    run: ({ x, w, bias }) => ops.conv2d(x!, w!, bias, 1, 1),
  });
  const heads = { q: rand([2, 4, 29, 16]), k: rand([2, 4, 29, 16]), v: rand([2, 4, 29, 16]) };
  found.push({
    name: 'attention',
    operands: heads,
    run: ({ q, k, v }) => ops.scaledDotProductAttention(q!, k!, v!),
  });
  return found;
}

/** The same values, `offset` elements after an aligned address. */
function place(x: Tensor, offset: number): Tensor {
  const at = zeros([x.numel + offset])
    .narrow(0, offset, x.numel)
    .view(x.shape);
  at.copy_(x);
  return at;
}

function differing(threads: number, precision: 'ieee' | 'bf16'): string[] {
  setNumThreads(threads);
  return cases().flatMap(({ name, operands, run }) => {
    const results = OFFSETS.map((offset) =>
      scope(() => {
        const at = Object.fromEntries(Object.entries(operands).map(([key, x]) => [key, place(x, offset)]));
        return withMatmulPrecision(precision, () => run(at)).toArray();
      }),
    );
    const first = JSON.stringify(results[0]);
    const others = OFFSETS.filter((_, i) => JSON.stringify(results[i]) !== first);
    return others.length === 0
      ? []
      : [
          `${name}, ${precision}, ${threads} threads: a different result at offsets of ${others.join(', ')} floats`,
        ];
  });
}

const found = inferenceMode(() =>
  scope(() => [1, 2].flatMap((threads) => [...differing(threads, 'ieee'), ...differing(threads, 'bf16')])),
);
if (isMainThread) process.stdout.write(JSON.stringify(found));
else parentPort!.postMessage(found);
