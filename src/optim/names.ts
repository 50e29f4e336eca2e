/** Optimizers by the reference's names (main_dino.py --optimizer); a separate file, so that settings can be checked without libtorch. */
export const OPTIMIZERS = ['adamw', 'sgd', 'lars'] as const;
export type OptimizerName = (typeof OPTIMIZERS)[number];
