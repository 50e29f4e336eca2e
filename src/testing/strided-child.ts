/**
 * For tests, in a process of its own, because it could hang or end: gradients of 1 x 1 convolutions that skip pixels, of few
 * channels in channels-last. Prints, as a JSON list, how far each is from the product that it is, as a share of its largest value.
 */
import { Conv2d } from '../nn/index.js';
import { gradients, manualSeed, randn, scope } from '../torch/index.js';

const found: number[] = [];
manualSeed(0);
for (const channels of [2, 4, 6, 12]) {
  for (let i = 0; i < 5; i++) {
    scope(() => {
      const layer = new Conv2d(channels, 16, 1, { stride: 2, bias: false });
      const x = randn([16, channels, 64, 64]).clone({ memoryFormat: 'channels_last' });
      const out = layer.forward(x); // (16, 16, 32, 32)
      const upstream = randn(out.shape);
      const [got] = gradients([out], [layer.weight], { gradOutputs: [upstream] });
      const rows = x.slice(2, 0, null, 2).slice(3, 0, null, 2).transpose(0, 1).reshape([channels, -1]);
      const expected = upstream.transpose(0, 1).reshape([16, -1]).mm(rows.t()).view(layer.weight.shape);
      found.push(got!.sub(expected).abs().max().item() / expected.abs().max().item());
    });
  }
}
process.stdout.write(JSON.stringify(found));
