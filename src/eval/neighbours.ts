/**
 * Whether an image keeps its neighbours when it is seen another way: those images that are nearest to one view of it are
 * compared with those nearest to another view. Features that go by place, colour or scale find other neighbours in another
 * crop; features of what is shown find the same. This needs no labels. It is the mutual k-NN of Huh et al. 2024 ("The Platonic
 * Representation Hypothesis", section 2), between two views where they compare two models.
 */
import { ShapeError } from '../errors.js';
import type { Tensor } from '../torch/index.js';
import { eachBlockOfCosines } from './cosines.js';

/** Neighbours that are compared: few, so that features of few dimensions can't keep them by chance. */
export const NEIGHBOURS = 5;

/** Below all cosines. */
const ITSELF = -2;

/** Of each view, its nearest images but its own; none where the last of them is as similar as one that is left out. */
function nearest(views: Tensor, features: Tensor, k: number): number[][] {
  const found: number[][] = [];
  eachBlockOfCosines(views, features, (similar, start) => {
    similar.diagonal(start).fill_(ITSELF);
    const [values, indices] = similar.topk(k + 1).map((each) => each.toTypedArray()) as [
      Float32Array,
      BigInt64Array,
    ];
    for (let at = 0; at < values.length; at += k + 1) {
      const isTie = values[at + k - 1] === values[at + k];
      found.push(isTie ? [] : [...indices.subarray(at, at + k)].map(Number));
    }
  });
  return found;
}

/**
 * Of each image, the share of the images nearest to one view of it that are also nearest to another view, by cosine.
 *
 * @param features - (N, D) float32, finite: among these the neighbours are looked for, the image itself left out.
 * @param views - (N, D) each, at least two: row i is another view of the image of row i of `features`.
 * @returns (N) 0 to 1, the mean over all pairs of views; about NEIGHBOURS / N by chance, and 0 where all features are alike. With
 *   NEIGHBOURS + 1 images or fewer all others are neighbours, which says nothing.
 * @throws ShapeError when the shapes differ, or there are fewer than two views or images.
 */
export function neighbourAgreement(features: Tensor, views: readonly Tensor[]): number[] {
  const [count = 0, width] = features.shape;
  const isSame = (view: Tensor): boolean => view.size(0) === count && view.size(1) === width;
  if (features.shape.length !== 2 || count < 2 || views.length < 2 || !views.every(isSame))
    throw new ShapeError(
      `expected features and at least two views of one shape (N, D) with N of 2 or more, got (${features.shape.join(', ')}) and ` +
        (views.map((view) => `(${view.shape.join(', ')})`).join(', ') || 'no view'),
    );
  const k = Math.min(NEIGHBOURS, count - 1);
  const lists = views.map((view) => nearest(view, features, k));
  const sums = new Array<number>(count).fill(0);
  let pairs = 0;
  lists.forEach((some, a) => {
    for (const others of lists.slice(a + 1)) {
      pairs++;
      some.forEach((list, i) => (sums[i]! += list.filter((each) => others[i]!.includes(each)).length / k));
    }
  });
  return sums.map((sum) => sum / pairs);
}
