/**
 * Proposes labels for unlabelled images: the nearest labelled images of each vote, weighted as in the paper's k-NN
 * classifier (section 4.1: exp(similarity / 0.07)), where one is near enough.
 */
import { indexArgument, labelsByRow, nearestFields, nearestOf } from './arguments.js';
import { checkCall, finite, optionsOf } from '../plain/check-options.js';
import { ConfigError } from '../errors.js';
import type { ImageIndex, NearestOptions } from './image-index.js';

const TEMPERATURE = 0.07;
/** Neighbours of an image that vote, of those with labels. */
const NEIGHBOURS = 20;

export interface ProposeOptions extends NearestOptions {
  /** Labels by row. */
  labels: ReadonlyMap<number, string>;
  /** The least share of the vote for a label to be proposed; default 0.5. */
  certainty?: number;
}

export interface Proposal {
  row: number;
  label: string;
  /** Share of the vote, 0 to 1. */
  certainty: number;
  /** Similarity to the nearest image of that label. */
  similarity: number;
}

const proposeOptions = optionsOf<ProposeOptions>(
  { labels: labelsByRow },
  { ...nearestFields, certainty: finite.min(0).max(1) },
);

/** @returns The surest first. @throws ConfigError for labels of rows that the index lacks. */
export async function proposeLabels(index: ImageIndex, options: ProposeOptions): Promise<Proposal[]> {
  checkCall('proposeLabels()', indexArgument(index), ['options', proposeOptions, options]);
  const { labels, certainty: least = 0.5 } = options;
  for (const row of labels.keys())
    if (!(Number.isInteger(row) && row >= 0 && row < index.count))
      throw new ConfigError(`a label for row ${row}; the index has ${index.count} images`);
  const k = Math.min(NEIGHBOURS, index.count - 1);
  if (k < 1 || labels.size === 0) return [];
  const { rows, similarities } = await index.neighbours(k, nearestOf(options));
  const proposals: Proposal[] = [];
  for (let row = 0; row < index.count; row++) {
    if (labels.has(row)) continue;
    const votes = new Map<string, { weight: number; similarity: number }>();
    let total = 0;
    for (let j = 0; j < k; j++) {
      const similarity = similarities[row * k + j]!;
      const label = labels.get(rows[row * k + j]!);
      if (label === undefined) continue;
      const weight = Math.exp((similarity - 1) / TEMPERATURE);
      total += weight;
      const vote = votes.get(label) ?? { weight: 0, similarity };
      votes.set(label, { ...vote, weight: vote.weight + weight });
    }
    let best: [string, { weight: number; similarity: number }] | null = null;
    for (const vote of votes) if (best === null || vote[1].weight > best[1].weight) best = vote;
    if (best === null) continue;
    const certainty = total > 0 ? best[1].weight / total : 0;
    if (certainty >= least)
      proposals.push({ row, label: best[0], certainty, similarity: best[1].similarity });
  }
  return proposals.sort((a, b) => b.certainty - a.certainty || b.similarity - a.similarity || a.row - b.row);
}
