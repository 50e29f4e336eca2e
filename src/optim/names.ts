/** Optimizers by the reference's names (main_dino.py --optimizer); apart, so that settings are checked without libtorch. */
export const OPTIMIZERS = ['adamw', 'sgd', 'lars'] as const;
export type OptimizerName = (typeof OPTIMIZERS)[number];
