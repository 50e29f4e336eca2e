/** From an optimizer's name to the optimizer. */
import { AdamW } from './adamw.js';
import { LARS } from './lars.js';
import type { OptimizerName } from './names.js';
import type { Optimizer } from './optimizer.js';
import type { ParameterGroup } from './parameters.js';
import { SGD } from './sgd.js';

/** Learning rate and weight decay come with every step. */
export function buildOptimizer(name: OptimizerName, groups: readonly ParameterGroup[]): Optimizer {
  switch (name) {
    case 'adamw':
      return new AdamW(groups);
    case 'sgd':
      return new SGD(groups);
    case 'lars':
      return new LARS(groups);
  }
}
