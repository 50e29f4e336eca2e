/** Optimizers by the reference's names (main_dino.py --optimizer), and Muon; a separate file, so that settings can be checked without libtorch. */
export const OPTIMIZERS = ['adamw', 'sgd', 'lars', 'muon'] as const;
export type OptimizerName = (typeof OPTIMIZERS)[number];
