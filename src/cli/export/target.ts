import type { WeightsFlags } from '../eval/options.js';

/** What a format gets besides the flags: WEIGHTS and --output are there. */
export interface ExportTarget {
  weights: string;
  output: string;
  format: string;
  /** Which network of the weights. */
  which: WeightsFlags;
}
