/**
 * The engine by itself: fits a line with autograd.
 *
 *   node examples/tensors.mjs
 */
import { manualSeed, noGrad, Parameter, randn, scope, zeros } from 'dino-ts/torch';

manualSeed(0);
const x = randn([256, 1]);
const y = x.mul(3).add(0.5); // the values to find: slope 3, offset 0.5
const slope = new Parameter(zeros([1]));
const offset = new Parameter(zeros([1]));

for (let step = 0; step < 200; step++) {
  scope(() => {
    x.mul(slope).add(offset).sub(y).pow(2).mean().backward();
    noGrad(() => {
      for (const parameter of [slope, offset]) {
        parameter.sub_(parameter.grad, { alpha: 0.1 });
        parameter.grad = null;
      }
    });
  }); // every tensor of the step is freed here
}
console.log(JSON.stringify({ slope: slope.item(), offset: offset.item() }));
