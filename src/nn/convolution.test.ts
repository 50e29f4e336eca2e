/** The gradients of convolutions in bfloat16 where an image has few positions (native/torch/convolution.cc). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { autocast, gradients, manualSeed, ops, randn, type Tensor } from '../torch/index.js';
import { Conv2d } from './index.js';

interface Case {
  kernel: number;
  stride: number;
  padding: number;
  /** (B, C, H, W) */
  shape: readonly [number, number, number, number];
}
const CASES: readonly Case[] = [
  { kernel: 3, stride: 1, padding: 1, shape: [5, 32, 3, 3] },
  { kernel: 3, stride: 2, padding: 1, shape: [5, 24, 7, 5] },
  { kernel: 3, stride: 1, padding: 1, shape: [4, 16, 1, 1] },
  { kernel: 1, stride: 1, padding: 0, shape: [4, 40, 6, 6] },
  { kernel: 1, stride: 2, padding: 0, shape: [4, 32, 5, 6] },
  { kernel: 2, stride: 2, padding: 0, shape: [3, 8, 9, 6] },
  { kernel: 3, stride: 1, padding: 1, shape: [3, 16, 20, 20] }, // many positions: libtorch's
];

/** Output, gradients of input and weights. */
function seen(conv: (x: Tensor, w: Tensor) => Tensor, given: readonly [Tensor, Tensor, Tensor]): Tensor[] {
  const [x, w] = given.map((one) => {
    const leaf = one.detach();
    leaf.requiresGrad = true;
    return leaf;
  }) as [Tensor, Tensor];
  const y = conv(x, w);
  return [y, ...(gradients([y], [x, w], { gradOutputs: [given[2].to(y.dtype)] }) as Tensor[])];
}

describe('a convolution in bfloat16', () => {
  for (const { kernel, stride, padding, shape } of CASES) {
    it(`${kernel} x ${kernel} by ${stride} of ${shape.join(' x ')} has the gradients of float64`, () => {
      manualSeed(0);
      const conv = new Conv2d(shape[1], 48, kernel, { stride, padding, bias: false });
      const x = randn(shape).to('bfloat16').clone({ memoryFormat: 'channels_last' });
      const weight = conv.weight.detach().to('bfloat16');
      const upstream = randn(conv.forward(x.to('float32')).shape).to('bfloat16');
      const wanted = seen(
        (x, w) => ops.conv2d(x, w, null, stride, padding),
        [x, weight, upstream].map((one) => one.to('float64')) as [Tensor, Tensor, Tensor],
      );
      conv.weight.detach().copy_(weight);
      const own = (x: Tensor): Tensor =>
        autocast({ device: 'cpu', dtype: 'bfloat16' }, () => conv.forward(x));
      const leaf = x.to('float32').clone({ memoryFormat: 'channels_last' });
      leaf.requiresGrad = true;
      const y = own(leaf);
      const got = [y, ...(gradients([y], [leaf, conv.weight], { gradOutputs: [upstream] }) as Tensor[])];
      assert.deepEqual(
        got.map(({ dtype }) => dtype),
        ['bfloat16', 'float32', 'float32'],
      );
      for (const [i, one] of got.entries()) {
        const off = one.to('float64').sub(wanted[i]!).abs().max().item() / wanted[i]!.abs().max().item();
        assert.ok(off < 2 ** -7, `${['output', 'input', 'weights'][i]}: off by ${off}`);
        assert.deepEqual(one.shape, wanted[i]!.shape);
      }
    });
  }
});
