/** Precisions: what bf16-matmul rounds, that it reaches our own operators, and that it ends with its function. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  attentionResidual,
  gradients,
  linear,
  manualSeed,
  ops,
  patches,
  perceptron,
  perceptronResidual,
  precisionProblem,
  randn,
  setNumThreads,
  withMatmulPrecision,
  withPrecision,
  withProductsOf,
  type Tensor,
} from './index.js';
import { LINEAR_SHAPES, linearWithGradients } from '../testing/linear-layer.js';
import { onednnLevel } from './bf16.js';
import { native } from './native.js';

const skip = precisionProblem('bf16-matmul', 'cpu') ?? false;
const rounded = (x: Tensor): Tensor => x.to('bfloat16').to('float32');
/** Largest difference, as a share of the largest value. */
const off = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item() / b.abs().max().item();
const inBf16 = <T>(fn: () => T): T => withPrecision('bf16-matmul', 'cpu', fn);

/** Of a product of bfloat16: half a unit in its last place, 2^-9, in each operand. */
const ROUNDING = 2 ** -8;

manualSeed(0);
const all = { kept: null, scale: 1 };
const [x, w1, b1, w2, b2] = [
  randn([3, 37, 64]),
  randn([256, 64]),
  randn([256]),
  randn([64, 256]).mul(0.1),
  randn([64]),
];
const norm = { weight: randn([64]), bias: randn([64]), eps: 1e-6 };
const [qkv, qkvBias, proj, projBias] = [
  randn([192, 64]).mul(0.2),
  randn([192]),
  randn([64, 64]),
  randn([64]),
];

const hasAmx = native.cpuFeatures()['amx_bf16'] === true && /AMX|DEFAULT/.test(onednnLevel());

test('an empty limit of oneDNN is none', () => {
  assert.equal(onednnLevel({ ONEDNN_MAX_CPU_ISA: '' }), 'DEFAULT');
  assert.equal(onednnLevel({ ONEDNN_MAX_CPU_ISA: '', DNNL_MAX_CPU_ISA: 'AVX2' }), 'AVX2');
  assert.equal(onednnLevel({ ONEDNN_MAX_CPU_ISA: 'AVX512_CORE', DNNL_MAX_CPU_ISA: 'AVX2' }), 'AVX512_CORE');
});

describe('bf16-matmul', { skip }, () => {
  const [a, b, c] = [randn([70, 1131]), randn([1131, 90]), randn([70, 90])];
  const products: Record<string, (a: Tensor, b: Tensor) => Tensor> = {
    mm: (a, b) => a.mm(b),
    addmm: (a, b) => c.addmm(a, b, { beta: 0.5, alpha: 2 }),
    bmm: (a, b) => a.unsqueeze(0).bmm(b.unsqueeze(0)),
    convolution: (a, b) =>
      ops.conv2d(a.narrow(1, 0, 1130).view([1, 70, 113, 10]), b.narrow(0, 0, 70).view([90, 70, 1, 1])),
  };
  for (const [name, product] of Object.entries(products)) {
    test(`${name} of libtorch: operands are rounded to bfloat16 where there is AMX, and only there`, () => {
      const got = inBf16(() => product(a, b));
      assert.equal(got.dtype, 'float32');
      if (hasAmx) {
        assert.ok(off(got, product(rounded(a), rounded(b))) < 1e-5);
        assert.ok(off(got, product(a, b)) > 1e-4);
      } else assert.ok(off(got, product(a, b)) < 1e-5);
    });
  }

  for (const [m, k, n] of LINEAR_SHAPES) {
    test(`a linear layer of ${m} x ${k} by ${k} x ${n}: operands are rounded to bfloat16, sums are float32`, () => {
      const [x, w, bias, upstream] = [randn([m, k]), randn([n, k]), randn([n]), randn([m, n])];
      const run = (x: Tensor, w: Tensor, upstream: Tensor): Tensor[] =>
        linearWithGradients(linear, [x, w, bias], upstream);
      const exact = run(rounded(x), rounded(w), rounded(upstream));
      const got = inBf16(() => run(x, w, upstream));
      for (const i of [0, 1, 2]) {
        const difference = off(got[i] as Tensor, exact[i] as Tensor);
        assert.ok(difference < 1e-5, `result ${i} is ${difference} from the product of rounded operands`);
      }
      assert.ok(
        off(got[3] as Tensor, upstream.sum([0])) < 1e-5,
        'the gradient of the bias is a sum in float32',
      );
      if (k > 16) assert.ok(off(got[0] as Tensor, linear(x, w, bias)) > 1e-4, 'not a product in float32');
    });
  }

  test('a number that is not finite stays what it is', () => {
    const [x, w] = [randn([4, 32]), randn([8, 32])];
    for (const value of [Infinity, -Infinity, NaN]) {
      const broken = x.clone();
      broken.select(0, 1).fill_(value);
      const got = inBf16(() => linear(broken, w));
      assert.ok(!got.select(0, 1).isfinite().any().item());
      assert.ok(got.select(0, 0).isfinite().all().item());
    }
  });

  test('the result is the same to the bit with any number of threads', () => {
    const [x, w] = [randn([300, 1500]), randn([200, 1500])];
    const [one, three] = [1, 3].map((threads) => {
      setNumThreads(threads);
      return inBf16(() => linear(x, w));
    }) as [Tensor, Tensor];
    setNumThreads(2);
    assert.ok(one.equal(three));
  });

  const operators: Record<string, (x: Tensor, w1: Tensor, qkv: Tensor) => Tensor> = {
    perceptron: (x, w1) => perceptron(x, { weight: w1, bias: b1 }, { weight: w2, bias: b2 }),
    perceptronResidual: (x, w1) =>
      perceptronResidual(x, norm, { weight: w1, bias: b1 }, { weight: w2, bias: b2 }, all),
    attentionResidual: (x, _, qkv) =>
      attentionResidual(x, norm, { weight: qkv, bias: qkvBias }, { weight: proj, bias: projBias }, 4, all),
  };
  for (const [name, operator] of Object.entries(operators)) {
    test(`${name} multiplies in it, forward and backward`, () => {
      const run = (precision: 'fp32' | 'bf16-matmul'): Tensor[] => {
        const inputs = [x, w1, qkv].map((input) => {
          const leaf = input.detach().clone();
          leaf.requiresGrad = true;
          return leaf;
        }) as [Tensor, Tensor, Tensor];
        const out = withPrecision(precision, 'cpu', () => operator(...inputs));
        const grads = withProductsOf(precision, () =>
          gradients([out], inputs, { gradOutputs: [out.detach()] }),
        );
        return [out, ...grads.filter((gradient) => gradient !== null)];
      };
      const [exact, got] = [run('fp32'), run('bf16-matmul')];
      for (const [i, value] of got.entries()) {
        const difference = off(value, exact[i] as Tensor);
        assert.ok(difference > 1e-5, `result ${i} is that of float32`);
        assert.ok(difference < 8 * ROUNDING, `result ${i} differs by ${difference}`);
      }
    });
  }

  // one and several blocks of queries; odd and even numbers of tokens
  for (const [tokens, dim] of [
    [2, 16],
    [47, 16],
    [48, 32],
    [31, 48],
    [65, 64],
    [197, 64],
    [290, 32],
  ] as const) {
    test(`attention of ${tokens} tokens in heads of ${dim} is within its rounding, with every gradient`, () => {
      const width = 2 * dim;
      const inputs = [
        randn([2, tokens, width]),
        randn([width]),
        randn([width]),
        randn([3 * width, width]).mul(1.5 / Math.sqrt(width)),
        randn([3 * width]),
        randn([width, width]),
        randn([width]),
      ];
      const upstream = randn([2, tokens, width]);
      const run = (precision: 'fp32' | 'bf16-matmul'): Tensor[] => {
        const leaves = inputs.map((input) => {
          const leaf = input.clone();
          leaf.requiresGrad = true;
          return leaf;
        });
        const [x, weight, bias, qkv, qkvBias, proj, projBias] = leaves as [
          ...[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor],
        ];
        const at = { weight: qkv, bias: qkvBias };
        const out = withPrecision(precision, 'cpu', () =>
          attentionResidual(x, { weight, bias, eps: 1e-6 }, at, { weight: proj, bias: projBias }, 2, all),
        );
        const grads = withProductsOf(precision, () =>
          gradients([out], leaves, { gradOutputs: [upstream] }),
        ) as Tensor[];
        const parts = (grads[4] as Tensor).chunk(3);
        return [out, ...grads.filter((_, i) => i !== 4), parts[0] as Tensor, parts[2] as Tensor];
      };
      const [exact, got] = [run('fp32'), run('bf16-matmul')];
      for (const [i, value] of got.entries()) {
        const difference = off(value, exact[i] as Tensor);
        assert.ok(difference < 8 * ROUNDING, `result ${i} differs by ${difference}`);
      }
    });
  }

  test('a perceptron of more rows than it takes at a time is within its rounding, with every gradient', () => {
    const inputs = [randn([1300, 64]), w1, b1, w2, b2];
    const run = (precision: 'fp32' | 'bf16-matmul'): Tensor[] => {
      const leaves = inputs.map((input) => {
        const leaf = input.clone();
        leaf.requiresGrad = true;
        return leaf;
      }) as [Tensor, Tensor, Tensor, Tensor, Tensor];
      const [x, weight, bias, last, lastBias] = leaves;
      const out = withPrecision(precision, 'cpu', () =>
        perceptron(x, { weight, bias }, { weight: last, bias: lastBias }),
      );
      const grads = withProductsOf(precision, () => gradients([out.square().sum()], leaves)) as Tensor[];
      return [out, ...grads];
    };
    setNumThreads(1); // 1,024 rows at a time
    const [exact, got] = [run('fp32'), run('bf16-matmul')];
    setNumThreads(2);
    for (const [i, value] of got.entries()) {
      const difference = off(value, exact[i] as Tensor);
      assert.ok(difference < 8 * ROUNDING, `result ${i} differs by ${difference}`);
    }
  });

  test('it ends with the function, also after an error, and full precision within it is full', () => {
    const w = b.t().contiguous();
    const exact = linear(a, w);
    const isExact = (): boolean => linear(a, w).equal(exact);
    const found: boolean[] = [];
    assert.throws(
      () =>
        inBf16(() => {
          found.push(isExact());
          found.push(withMatmulPrecision('ieee', () => isExact()));
          found.push(isExact());
          throw new Error('enough');
        }),
      /enough/,
    );
    found.push(isExact());
    assert.deepEqual(found, [false, true, false, true]);
  });

  test('patches of an image are a convolution of rounded operands, without pixels that fill no patch', () => {
    const [images, weight, bias] = [randn([3, 2, 17, 22]), randn([5, 2, 4, 4]), randn([5])];
    const convolved = (x: Tensor, w: Tensor): Tensor => ops.conv2d(x, w, bias, 4).flatten(2).transpose(1, 2);
    const got = inBf16(() => patches(images, weight, bias));
    assert.deepEqual(got.shape, [3, 20, 5]);
    assert.ok(off(got, convolved(rounded(images), rounded(weight))) < 1e-5);
    assert.ok(off(got, convolved(images, weight)) > 1e-4, 'not a product in float32');
    assert.ok(patches(images, weight, bias).equal(convolved(images, weight)));
  });
});

test('withMatmulPrecision() refuses a function that returns a promise', () => {
  assert.throws(
    () => withMatmulPrecision('bf16', () => Promise.resolve(1)),
    /expected a synchronous function/,
  );
});

test('says why a precision brings nothing on a device', () => {
  assert.equal(precisionProblem('fp32', 'cpu'), null);
  assert.match(String(precisionProblem('fp16', 'cpu')), /CUDA/);
  assert.match(String(precisionProblem('bf16-matmul', 'cuda:0')), /CPU/);
  assert.equal(precisionProblem('bf16', 'cuda:0'), null);
});
