/**
 * Initial values, drawn from the engine's default generator: with the same seed and the same order of layers they equal
 * PyTorch's to the bit.
 */
import { noGrad, type Tensor } from '../torch/index.js';

let isSkipped = false;

/**
 * Runs `fn`, which builds a model, without drawing initial values, because all values will be loaded afterwards: for the
 * reference's larger models drawing takes seconds. Until then the tensors hold whatever was in memory.
 */
export function withoutInit<T>(fn: () => T): T {
  const before = isSkipped;
  isSkipped = true;
  try {
    return fn();
  } finally {
    isSkipped = before;
  }
}

/** The standard normal distribution function. */
function normalCdf(x: number): number {
  return (1 + erf(x / Math.SQRT2)) / 2;
}

/** The error function by its series (|x| < 3) and its continued fraction, to about 1e-15. */
function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 3) {
    let term = a;
    let sum = a;
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let k = 60; k > 0; k--) fraction = k / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}

/**
 * Normal values truncated to [low, high], by the inverse of the distribution function (reference: utils.py
 * _no_grad_trunc_normal_). The bounds are values, not multiples of `std`: at the reference's std of 0.02 they have no effect.
 */
export function truncNormal_(x: Tensor, { mean = 0, std = 1, low = -2, high = 2 } = {}): Tensor {
  if (isSkipped) return x;
  return noGrad(() => {
    const l = normalCdf((low - mean) / std);
    const u = normalCdf((high - mean) / std);
    x.uniform_(2 * l - 1, 2 * u - 1);
    x.erfinv_();
    x.mul_(std * Math.SQRT2);
    x.add_(mean);
    return x.clamp_(low, high);
  });
}

/**
 * PyTorch's default for weights and biases of Linear and Conv: uniform in +-1 / sqrt(fanIn). For weights this is
 * kaiming_uniform_(a = sqrt(5)), whose rounding is reproduced: the bits depend on it.
 */
export function defaultUniform_(x: Tensor, fanIn: number, kind: 'weight' | 'bias' = 'weight'): Tensor {
  if (isSkipped) return x;
  const gain = Math.sqrt(2 / (1 + Math.sqrt(5) ** 2));
  const bound = kind === 'bias' ? 1 / Math.sqrt(fanIn) : Math.sqrt(3) * (gain / Math.sqrt(fanIn));
  return noGrad(() => x.uniform_(-bound, bound));
}

/** Normal values (torch.nn.init.normal_). */
export function normal_(x: Tensor, { mean = 0, std = 1 } = {}): Tensor {
  return isSkipped ? x : noGrad(() => x.normal_(mean, std));
}

/** Normal values with variance 2 / fanOut, for a convolution (out, in / groups, k, k) before a ReLU (He et al. 2015). */
export function kaimingNormal_(x: Tensor): Tensor {
  if (isSkipped) return x;
  const [out = 0, , height = 1, width = 1] = x.shape;
  return noGrad(() => x.normal_(0, Math.sqrt(2) / Math.sqrt(out * height * width)));
}
