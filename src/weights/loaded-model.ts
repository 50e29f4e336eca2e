/** What evaluations, explanations and exports need of a model; `Model` (src/model.ts) implements it. */
import type { Backbone } from '../models/index.js';
import type { Architecture } from './architecture.js';

/** What is known about a model's weights besides the architecture. */
export interface ModelOrigin {
  /** The key by which loadModel() takes the same network from the file again. */
  checkpointKey: string;
  /** Whether the number of attention heads is a guess, because neither the file nor the caller says it. */
  headsAreGuess: boolean;
  /** Attention heads that the caller gave; null where the file's own, or a guess, were taken. */
  givenHeads: number | null;
  /** The files that were read: one, or an index and its parts. */
  files: readonly string[];
  /** Possible problems of the weights. */
  warnings: readonly string[];
  /** Choices that the caller may want to know of, such as which of several networks was taken. */
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
