/** Builds an optimizer by its name. */
import { AdamW } from './adamw.js';
import { LARS } from './lars.js';
import type { OptimizerName } from './names.js';
import type { Optimizer } from './optimizer.js';
import type { ParameterGroup } from './parameters.js';
import { SGD } from './sgd.js';

/** Learning rate and weight decay are given at every step. */
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
