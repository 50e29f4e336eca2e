/**
 * What turns a feature into probabilities of classes: a linear layer, or labelled features among which the nearest vote.
 * Plain data, so that a page in a browser can use the same head; src/classify/ fits it.
 */
import { type FeatureTransform, transformFeature } from './feature-transform.js';

interface Head {
  /** Names of the classes, at least 2. */
  classes: readonly string[];
  /** What a feature goes through first, which scales it to length 1; null for none: it is used as the network gives it. */
  transform: FeatureTransform | null;
  /** The logits are divided by it: above 1 where the classifier is too sure of itself, below 1 where it is not sure enough. */
  temperature: number;
}

/** Multinomial logistic regression. */
export interface LinearHead extends Head {
  kind: 'logistic';
  /** (classes, D) */
  weight: Float32Array;
  /** (classes) */
  bias: Float32Array;
}

/** k nearest neighbours, which vote with exp(similarity / 0.07). */
export interface NeighbourHead extends Head {
  kind: 'knn';
  /** Never null: similarities are those of features of length 1. */
  transform: FeatureTransform;
  k: number;
  /** (N, D), rows of length 1, transformed. */
  features: Float32Array;
  /** (N) class numbers. */
  labels: Int32Array;
  /** (classes): what each vote for a class counts. */
  voteWeights: Float32Array;
}

export type ClassifierHead = LinearHead | NeighbourHead;

/** How often a classifier was right: on validation images, or else by cross-validation. */
export interface MeasuredAccuracy {
  from: 'cross-validation' | 'validation';
  images: number;
  /** Shares, 0 to 1; `low` and `high` bound it with 95%. */
  accuracy: number;
  low: number;
  high: number;
  /** Expected calibration error of the probabilities, 0 to 1. */
  ece: number;
}

/** Softmax of logits over a temperature. @returns (classes), sums to 1. */
export function probabilitiesOf(logits: ArrayLike<number>, temperature: number): Float64Array {
  let most = -Infinity;
  for (let c = 0; c < logits.length; c++) most = Math.max(most, logits[c]!);
  const out = new Float64Array(logits.length);
  let sum = 0;
  for (let c = 0; c < logits.length; c++) sum += out[c] = Math.exp((logits[c]! - most) / temperature);
  for (let c = 0; c < logits.length; c++) out[c]! /= sum;
  return out;
}

/**
 * Probabilities of the classes for one feature, without libtorch.
 * @param feature - (D), as the network gives it.
 */
export function classifyFeature(head: LinearHead, feature: Float32Array): Float64Array {
  const { transform, weight, bias, temperature } = head;
  const row = transform === null ? feature : transformFeature(transform, feature);
  const logits = Float64Array.from(bias, (offset, c) => {
    let sum = offset;
    for (let d = 0; d < row.length; d++) sum += weight[c * row.length + d]! * row[d]!;
    return sum;
  });
  return probabilitiesOf(logits, temperature);
}
