/**
 * k-NN as in the paper (section 4.1; reference: eval_knn.py): the k nearest labelled features vote with exp(similarity / 0.07).
 * For probabilities, the shares of the votes are mixed with a little of every class: how much follows from k, so that a class
 * without a vote is unlikely rather than impossible.
 */
import { fromTypedArray, inferenceMode, scope, type Tensor } from '../torch/index.js';

/** The paper's. */
export const VOTE_TEMPERATURE = 0.07;
/** Rows that are compared with all labelled ones at a time. */
const BLOCK = 512;

/** Labelled features that vote. */
export interface Bank {
  /** (N, width), rows of length 1. */
  features: Float32Array;
  /** (N) class numbers. */
  labels: ArrayLike<number>;
  /** (classes): what a vote for each class counts. */
  voteWeights: ArrayLike<number>;
  /** (N), and the one that each row must not be compared with; for cross-validation. */
  folds?: { ofBank: Int32Array; ofRows: Int32Array };
}

/** Votes of the first `k` neighbours as logits. @param similarities - Nearest first. */
function logitsOfVotes(
  similarities: Float32Array,
  labels: readonly number[],
  voteWeights: ArrayLike<number>,
  k: number,
  into: Float64Array,
): void {
  into.fill(0);
  let sum = 0;
  for (let j = 0; j < Math.min(k, labels.length); j++) {
    const label = labels[j]!;
    // less the largest similarity, which cancels out
    const vote = Math.exp((similarities[j]! - similarities[0]!) / VOTE_TEMPERATURE) * voteWeights[label]!;
    into[label]! += vote;
    sum += vote;
  }
  const mixed = 1 / (k + 1);
  for (let c = 0; c < into.length; c++)
    into[c] = Math.log(((1 - mixed) * into[c]!) / sum + mixed / into.length);
}

/**
 * Logits of rows for several k.
 * @param rows - (M, width), rows of length 1.
 * @returns (M, classes) for each of `ks`.
 */
export function neighbourLogits(
  bank: Bank,
  rows: Float32Array,
  width: number,
  ks: readonly number[],
): Float64Array[] {
  const { features, labels, voteWeights, folds } = bank;
  const classes = voteWeights.length;
  const count = rows.length / width;
  const most = Math.min(labels.length, Math.max(...ks));
  const found = ks.map(() => new Float64Array(count * classes));
  scope(() =>
    inferenceMode(() => {
      const columns = fromTypedArray(features, [labels.length, width]).t(); // (D, N)
      const bankFolds = folds === undefined ? null : fromTypedArray(folds.ofBank, [1, labels.length]);
      for (let start = 0; start < count; start += BLOCK) {
        const size = Math.min(BLOCK, count - start);
        const { near, places } = scope(() => {
          const part = rows.subarray(start * width, (start + size) * width);
          let similarities: Tensor = fromTypedArray(part, [size, width]).matmul(columns); // (B, N)
          if (bankFolds !== null) {
            const own = fromTypedArray(folds!.ofRows.slice(start, start + size), [size, 1]);
            similarities = similarities.maskedFill_(bankFolds.eq(own), -Infinity);
          }
          const [values, indices] = similarities.topk(most); // (B, K)
          return {
            near: values.toTypedArray() as Float32Array,
            places: indices.toTypedArray() as BigInt64Array,
          };
        });
        for (let i = 0; i < size; i++) {
          // those of the own fold come last, and don't vote
          const similarities = near.subarray(i * most, (i + 1) * most).filter((value) => value > -Infinity);
          const voters = Array.from(similarities, (_, j) => labels[Number(places[i * most + j])]!);
          ks.forEach((k, n) => {
            const at = (start + i) * classes;
            logitsOfVotes(similarities, voters, voteWeights, k, found[n]!.subarray(at, at + classes));
          });
        }
      }
    }),
  );
  return found;
}
