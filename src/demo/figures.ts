/** The demo's figures and pictures as plain data: demo.json contains the figures, the report draws both. */
import type { JaccardScore } from '../eval/jaccard.js';
import type { Readings } from '../eval/readings.js';

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
  /** Top-1 accuracies in percent, all with the same k and vote, in three readings. */
  knn: {
    k: number;
    classes: number;
    trainImages: number;
    valImages: number;
    /** Side at which images are compared, pixels. */
    size: number;
    /** Principal components of the whitened reading. */
    components: number;
    pixels: Readings;
    /** Histograms of oriented gradients. */
    hog: Readings;
    /** The teacher's class token before training. */
    before: Readings;
    after: Readings;
  };
  jaccard: {
    /** Share of a head's attention kept by its mask. */
    threshold: number;
    before: JaccardScore;
    after: JaccardScore;
  };
}

/** An image file and what it shows. */
export interface Picture {
  bytes: Uint8Array;
  type: 'image/png' | 'image/webp';
  /** A description for readers who can't see it. */
  alt: string;
}

/** A scene, and where the network looks in it. */
export interface AttentionFigure {
  kind: string;
  scene: Picture;
  before: AttentionSide;
  after: AttentionSide;
}

export interface AttentionSide {
  /** Number of the head that fits best over all scenes, from 1, and its map. */
  head: number;
  map: Picture;
  /** Jaccard similarity of that head's mask with this object, 0 to 100. */
  jaccard: number;
  /** Every head's map, in order. */
  heads: Picture[];
}

export interface NeighbourRow {
  query: Picture;
  kind: string;
  before: Neighbour[];
  after: Neighbour[];
}

/** Nearest first. */
export interface Neighbour {
  picture: Picture;
  kind: string;
  isSame: boolean;
}

/** The scenes of val as points of a map. */
export interface MapFigure {
  kinds: readonly string[];
  /** The kind of each point. */
  labels: readonly number[];
  /** (points, 2), 0 to 1. */
  before: Float32Array;
  after: Float32Array;
}

export interface DemoReport {
  figures: DemoFigures;
  attention: AttentionFigure[];
  neighbours: NeighbourRow[];
  map: MapFigure;
  /** A few scenes of the training set. */
  examples: Picture[];
}
