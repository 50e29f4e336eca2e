/** The demo's figures and pictures as plain data: demo.json contains the figures, the report draws both. */
import type { JaccardScore } from '../eval/jaccard.js';

/** Everything measured. */
export interface DemoFigures {
  /** Version of this package. */
  version: string;
  seed: number;
  /** Wall-clock time of each part, seconds. */
  seconds: { scenes: number; before: number; train: number; after: number; total: number };
  machine: { cores: number; device: string; precision: string };
  /** Settings of the training, by name. */
  settings: Record<string, unknown>;
  /** Trained parameters of the student. */
  parameters: number;
  steps: number;
  curves: {
    /** K, the number of the head's outputs: ln K is the loss and entropy of a uniform output. */
    outDim: number;
    /** The steps of the values below. */
    step: number[];
    /** Cross-entropy loss, nats. */
    loss: number[];
    /** Entropy of the teacher's outputs, nats. */
    entropy: number[];
    /** KL divergence of the teacher's outputs from their batch mean, nats. */
    kl: number[];
  };
  /** Top-1 accuracies in percent, all with the same k and vote. */
  knn: {
    k: number;
    classes: number;
    trainImages: number;
    valImages: number;
    /** The teacher's class token before training. */
    before: number;
    after: number;
    rawPixels: number;
    /** Pixels after subtracting the mean image. */
    rawPixelsCentred: number;
  };
  jaccard: {
    /** Share of a head's attention kept by its mask. */
    threshold: number;
    before: JaccardScore;
    after: JaccardScore;
  };
}

/** A PNG and what it shows. */
export interface Picture {
  png: Uint8Array;
  /** A description for readers who can't see it. */
  alt: string;
}

export interface NeighbourRow {
  query: Picture;
  queryClass: string;
  /** Nearest first; `same` says whether it has the query's class. */
  before: { picture: Picture; same: boolean }[];
  after: { picture: Picture; same: boolean }[];
}

export interface AttentionRow {
  image: Picture;
  truth: Picture;
  /** One picture per head (the map), the mask of the head that fits best, and its Jaccard similarity, 0 to 100. */
  before: { heads: Picture[]; mask: Picture; jaccard: number };
  after: { heads: Picture[]; mask: Picture; jaccard: number };
}

export interface DemoReport {
  figures: DemoFigures;
  /** A few scenes of the training set. */
  examples: Picture[];
  neighbours: NeighbourRow[];
  attention: AttentionRow[];
}
