/** What evaluations, explanations and exports need of a model; `Model` (src/model.ts) has it. */
import type { Backbone } from '../models/index.js';
import type { Architecture } from './architecture.js';

/** What is known of a model's weights besides the architecture. */
export interface ModelOrigin {
  /** The key by which loadModel() takes the same network of the file again. */
  checkpointKey: string;
  /** Whether the number of attention heads is a guess: nobody says it. */
  headsAreGuess: boolean;
  /** Attention heads that the caller told; null where the file's own, or a guess, were taken. */
  givenHeads: number | null;
  /** The files that were read: one, or an index and its parts. */
  files: readonly string[];
  /** What may be wrong with them. */
  warnings: readonly string[];
  /** What was decided that the caller may have meant otherwise, such as which network of several was taken. */
  notes: readonly string[];
}

/** A frozen backbone, and where its weights came from. */
export interface LoadedModel {
  readonly backbone: Backbone;
  readonly architecture: Architecture;
  /** Where the weights came from. */
  readonly file: string;
  readonly device: string;
  readonly origin: ModelOrigin;
  /** Width of the class token's features. */
  readonly embedDim: number;
}
