/** Builds an optimizer by its name. */
import { AdamW } from './adamw.js';
import type { DType } from '../torch/index.js';
import { LARS } from './lars.js';
import { Muon } from './muon.js';
import type { OptimizerName } from './names.js';
import type { Optimizer } from './optimizer.js';
import type { ParameterGroup } from './parameters.js';
import { SGD } from './sgd.js';

/**
 * Learning rate and weight decay are given at every step.
 * @param dtype - Precision of the forward passes, enough for what Muon iterates; default float32.
 */
export function buildOptimizer(
  name: OptimizerName,
  groups: readonly ParameterGroup[],
  dtype?: DType,
): Optimizer {
  switch (name) {
    case 'adamw':
      return new AdamW(groups);
    case 'sgd':
      return new SGD(groups);
    case 'lars':
      return new LARS(groups);
    case 'muon':
      return new Muon(groups, dtype === undefined ? {} : { dtype });
  }
}
