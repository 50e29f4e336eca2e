/**
 * Average precision of a search, as the protocols of Revisited Oxford and Paris (Radenovic et al. 2018) and of the
 * Holidays package compute it: the area under the precision-recall curve by trapezoids (reference: utils.py compute_ap
 * and compute_map, eval_copy_detection.py score_ap_from_ranks_1).
 */

/**
 * @param ranks - Zero-based places of the true results, ascending.
 * @param total - How many true results exist, at least 1.
 * @returns 0 to 1.
 */
export function averagePrecision(ranks: readonly number[], total: number): number {
  const step = 1 / total;
  let ap = 0;
  ranks.forEach((rank, i) => {
    const left = rank === 0 ? 1 : i / rank;
    const right = (i + 1) / (rank + 1);
    ap += ((left + right) * step) / 2;
  });
  return ap;
}

/** What is true for a query: numbers of images. */
export interface Truth {
  /** Images that should be found. */
  ok: readonly number[];
  /** Images that are ignored: they are removed from the ranking. */
  junk: readonly number[];
}

export interface MapScores {
  /** Mean average precision over the queries that have true results, 0 to 1; NaN when none has. */
  map: number;
  /** Mean precision among the first k results, for each k. */
  mp: number[];
  /** By query; NaN for a query without true results. */
  aps: number[];
  /** By query, then k. */
  precisions: number[][];
}

/**
 * Scores of rankings.
 * @param rankings - For each query the numbers of all images, best first.
 * @param ks - For mean precision; default 1, 5, 10. As in the reference, k is at most the place of the last true
 *   result.
 */
export function computeMap(
  rankings: readonly ArrayLike<number>[],
  truths: readonly Truth[],
  ks: readonly number[] = [1, 5, 10],
): MapScores {
  const aps: number[] = [];
  const precisions: number[][] = [];
  let [sum, counted] = [0, 0];
  const sums = ks.map(() => 0);
  truths.forEach(({ ok, junk }, query) => {
    if (ok.length === 0) {
      aps.push(NaN);
      precisions.push(ks.map(() => NaN));
      return;
    }
    const [wanted, ignored] = [new Set(ok), new Set(junk)];
    const places: number[] = [];
    let junkBefore = 0;
    const ranking = rankings[query]!;
    for (let place = 0; place < ranking.length; place++) {
      const image = ranking[place]!;
      if (wanted.has(image)) places.push(place - junkBefore);
      // an image that is both counts, as it does there: only the later ones move
      if (ignored.has(image)) junkBefore++;
    }
    const ap = averagePrecision(places, ok.length);
    const last = places.at(-1)! + 1;
    const row = ks.map((k) => {
      const within = Math.min(last, k);
      return places.filter((place) => place + 1 <= within).length / within;
    });
    aps.push(ap);
    precisions.push(row);
    sum += ap;
    row.forEach((value, i) => (sums[i]! += value));
    counted++;
  });
  return { map: sum / counted, mp: sums.map((value) => value / counted), aps, precisions };
}
