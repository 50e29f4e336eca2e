/** Near-duplicates, outliers, clusters and subsets of features whose answers are known. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { ConfigError } from '../errors.js';
import { clusteredRows, featureIndex, normals } from '../testing/feature-index.js';
import { liveTensors } from '../torch/index.js';
import { clusterIndex } from './cluster.js';
import { duplicateThreshold, findDuplicates, similarPairs } from './duplicates.js';
import { findOutliers } from './outliers.js';
import { selectImages } from './select.js';
import { pairSimilarities, shareBelow } from './similarity-scale.js';
import { makeMap, readMap } from './map.js';
import { proposeLabels } from './propose.js';
import { VectorIndex } from './vector-index.js';
import { unitRows } from '../plain/maps.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

const WIDTH = 32;
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-explore-'));
after(() => rmSync(folder, { recursive: true }));
let made = 0;
const indexOf = (rows: Float32Array, bytes?: (row: number) => number) =>
  featureIndex(path.join(folder, String(made++)), rows, WIDTH, bytes);

/** Adds noise of this length to a row. */
function near(row: Float32Array, noise: number, seed: number): Float32Array {
  const off = normals(WIDTH, seed);
  return unitRows(
    row.map((value, d) => value + (noise * off[d]!) / Math.sqrt(WIDTH)),
    WIDTH,
  );
}

const joined = (...parts: Float32Array[]): Float32Array => {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
};

describe('the graph', () => {
  // DINO_TEST_VECTORS=1000000 measures at full size; see docs/explore.md
  const count = Number(process.env['DINO_TEST_VECTORS'] ?? 12_000);
  it(`finds what exact search finds among ${count} vectors, and follows additions and removals`, async () => {
    const rows = clusteredRows(count, WIDTH, 100, 0.8);
    using index = await indexOf(rows);
    assert.ok((await index.recall(200)) >= 0.95);
    const query = index.feature(17);
    const exact = await index.search(query, 10, { exact: true });
    const graph = await index.search(query, 10, { exact: false });
    assert.deepEqual([exact[0]!.row, graph[0]!.row], [17, 17]);
    assert.ok(Math.abs(graph[0]!.similarity - 1) < 1e-5);
    // the similarities are those of the float32 rows, not of the graph's bfloat16
    for (const match of graph) {
      const same = exact.find(({ row }) => row === match.row);
      if (same !== undefined) assert.ok(Math.abs(match.similarity - same.similarity) < 1e-5);
    }

    const vectors = new VectorIndex(WIDTH);
    const ids = Int32Array.from({ length: 2000 }, (_, i) => i);
    await vectors.add(ids, rows.subarray(0, 2000 * WIDTH));
    vectors.remove(ids.subarray(0, 1000));
    assert.equal(vectors.size, 1000);
    const found = vectors.search(rows.subarray(0, WIDTH), 20);
    assert.ok(found.every((id) => id >= 1000));
    await vectors.add(Int32Array.of(5000), rows.subarray(0, WIDTH));
    assert.equal(vectors.search(rows.subarray(0, WIDTH), 1)[0], 5000);
  });

  it('gives every image its neighbours, without itself, by both ways', async () => {
    const rows = clusteredRows(600, WIDTH, 6, 0.5);
    using index = await indexOf(rows);
    const exact = await index.neighbours(5);
    using again = await indexOf(rows);
    const graph = await again.neighbours(5, { exact: false });
    let same = 0;
    for (let row = 0; row < 600; row++) {
      const [a, b] = [exact, graph].map(({ rows: all }) => [...all.subarray(row * 5, row * 5 + 5)]);
      assert.ok(!a!.includes(row) && !b!.includes(row) && !a!.includes(-1));
      assert.ok(a!.every((other) => other % 6 === row % 6));
      same += a!.filter((other) => b!.includes(other)).length;
    }
    assert.ok(same >= 0.98 * 3000, `${same} of 3000`);
    const three = await index.neighbours(3);
    assert.deepEqual([...three.rows.subarray(9, 12)], [...exact.rows.subarray(15, 18)]);
  });
});

describe('near-duplicates', () => {
  const base = unitRows(normals(40 * WIDTH, 3), WIDTH);
  const row = (i: number) => base.subarray(i * WIDTH, (i + 1) * WIDTH);

  it('groups copies around their centre, keeps the largest file, and chains nothing', async () => {
    // 40 and 41 are copies of 3, 42 of 7; 43 to 52 are a chain, each a small step from the one before
    const chain: Float32Array[] = [];
    const from = row(20);
    const along = from.reduce((sum, value, d) => sum + value * row(21)[d]!, 0);
    const to = unitRows(
      row(21).map((value, d) => value - along * from[d]!),
      WIDTH,
    ); // at a right angle
    for (let i = 0; i < 10; i++)
      chain.push(
        unitRows(
          from.map((value, d) => value * Math.cos(0.25 * (i + 1)) + to[d]! * Math.sin(0.25 * (i + 1))),
          WIDTH,
        ),
      );
    const rows = joined(
      base,
      near(row(3), 0.05, 50),
      near(row(3), 0.1, 51),
      near(row(7), 0.05, 52),
      ...chain,
    );
    using index = await indexOf(rows, (i) => (i === 41 ? 5000 : 1000));
    const before = liveTensors();
    const groups = await findDuplicates(index, { threshold: 0.95 });
    noTensorLeft(before);
    const members = groups.map(({ keep, copies }) => [keep.row, ...copies.map((copy) => copy.row)]);
    const three = members.find((group) => group.includes(3))!;
    assert.equal(three[0], 41); // the most bytes
    assert.deepEqual(
      [...three].sort((a, b) => a - b),
      [3, 40, 41],
    );
    assert.deepEqual(
      members.find((group) => group.includes(7)),
      [7, 42],
    );
    for (const group of groups) {
      assert.ok(group.least >= 0.95);
      assert.ok(group.copies.length <= 3, 'a chain of steps is no group');
    }
  });

  it('finds nothing where nothing is alike, warns where all is, and refuses a threshold out of range', async () => {
    using index = await indexOf(base);
    assert.deepEqual(await findDuplicates(index, { threshold: 0.95 }), []);
    const warnings: string[] = [];
    using alike = await indexOf(clusteredRows(50, WIDTH, 1, 0.1));
    const onWarning = (message: string) => warnings.push(message);
    const groups = await findDuplicates(alike, { threshold: 0.95, onWarning });
    assert.equal(groups[0]!.copies.length, 49);
    assert.match(warnings.join(), /50 of 50 images are in groups/);
    await assert.rejects(findDuplicates(index, { threshold: 1.5 }), ConfigError);
  });

  it('by default goes by how far apart the images are: those that are all alike are not all copies', async () => {
    const noise = normals(10 * WIDTH, 5);
    for (const spread of [0.02, 0.1, 0.5]) {
      const rows = clusteredRows(200, WIDTH, 1, spread);
      // ten copies that differ a hundredth of what images differ
      const copies = unitRows(
        rows
          .subarray(0, 10 * WIDTH)
          .map((value, d) => value + (0.01 * spread * noise[d]!) / Math.sqrt(WIDTH)),
        WIDTH,
      );
      using index = await indexOf(joined(rows, copies));
      const found = await findDuplicates(index);
      assert.deepEqual(
        found.map(({ keep, copies: others }) => [keep.row, others.length]),
        Array.from({ length: 10 }, (_, i) => [i, 1]),
        `spread ${spread}`,
      );
      const { pairs, isAll } = await similarPairs(index, 50);
      assert.equal(isAll, false);
      assert.equal(pairs.length, 50);
      const first = pairs.slice(0, 10).map(({ a, b }) => [a, b]);
      assert.deepEqual(
        first.sort((one, other) => one[0]! - other[0]!),
        Array.from({ length: 10 }, (_, i) => [i, 200 + i]),
      );
      const threshold = await duplicateThreshold(index);
      assert.ok(pairs[9]!.similarity > threshold && pairs[10]!.similarity < threshold);
    }
    using one = await indexOf(clusteredRows(1, WIDTH, 1, 0.1));
    assert.deepEqual([await findDuplicates(one), (await similarPairs(one, 5)).pairs], [[], []]);
  });

  it('tells the share of pairs that are less alike', async () => {
    using index = await indexOf(clusteredRows(300, WIDTH, 10, 0.2));
    const rising = pairSimilarities(index);
    const [inside, between] = [index.feature(0), index.feature(1)].map((feature) =>
      feature.reduce((sum, value, d) => sum + value * index.feature(10)[d]!, 0),
    );
    // a tenth of the pairs are of one cluster
    assert.ok(shareBelow(rising, inside!) > 0.85);
    assert.ok(shareBelow(rising, between!) < 0.9);
    assert.deepEqual([shareBelow(rising, -2), shareBelow(rising, 2)], [0, 1]);
    assert.deepEqual(pairSimilarities(index), rising);
  });
});

describe('outliers', () => {
  it('puts odd images first, also one that is there twice', async () => {
    const odd = unitRows(normals(3 * WIDTH, 9), WIDTH);
    const rows = joined(clusteredRows(300, WIDTH, 3, 0.4), odd, near(odd.subarray(0, WIDTH), 0.02, 60));
    using index = await indexOf(rows);
    const found = await findOutliers(index, { top: 10 });
    assert.deepEqual(
      found
        .slice(0, 4)
        .map(({ row }) => row)
        .sort((a, b) => a - b),
      [300, 301, 302, 303],
    );
    assert.ok(found.slice(0, 4).every(({ far }) => far));
    assert.ok(!found[9]!.far);
    assert.ok(found[0]!.distance >= found[1]!.distance);
    const copy = found.find(({ row }) => row === 303)!;
    assert.equal(path.basename(copy.nearest.path), '300.jpg');
  });
});

describe('outliers among exact copies', () => {
  const pictures = unitRows(normals(4 * WIDTH, 21), WIDTH);
  /** So many copies of a picture, whose features differ as those of copies in different batches do. */
  const copiesOf = (picture: number, count: number): Float32Array[] =>
    Array.from({ length: count }, (_, i) =>
      near(pictures.subarray(picture * WIDTH, (picture + 1) * WIDTH), 2e-4, 100 * picture + i),
    );

  it('are found: 30 copies of one picture and one other', async () => {
    using index = await indexOf(joined(...copiesOf(0, 30), ...copiesOf(1, 1)));
    const [first, ...others] = await findOutliers(index, { top: 31 });
    assert.deepEqual([first!.row, first!.far], [30, true]);
    assert.ok(first!.deviation > 10 && first!.deviation < 100, `${first!.deviation}`);
    assert.equal(others.length, 30);
    assert.ok(others.every(({ deviation, far }) => deviation === 0 && !far));
  });

  it('are none where all are copies, or each has as many', async () => {
    for (const rows of [copiesOf(0, 40), [0, 1, 2].flatMap((picture) => copiesOf(picture, 15))]) {
      using index = await indexOf(joined(...rows));
      const found = await findOutliers(index, { top: 50 });
      assert.ok(found.every(({ deviation, far }) => deviation === 0 && !far));
    }
  });
});

describe('clusters', () => {
  it('finds how many there are and which images belong together', async () => {
    using index = await indexOf(clusteredRows(700, WIDTH, 7, 0.6));
    const before = liveTensors();
    const { clusters, assignment, silhouette, tried } = await clusterIndex(index, { typical: 3 });
    noTensorLeft(before);
    assert.equal(clusters.length, 7);
    assert.deepEqual(
      clusters.map(({ rows }) => rows.length),
      [100, 100, 100, 100, 100, 100, 100],
    );
    for (const [i, { rows, typical }] of clusters.entries()) {
      assert.equal(new Set(rows.map((row) => row % 7)).size, 1);
      assert.ok(rows.every((row) => assignment[row] === i));
      assert.equal(typical.length, 3);
      assert.ok(typical[0]!.similarity >= typical[2]!.similarity);
    }
    assert.ok(silhouette > 0.3 && tried.length > 5);
    const again = await clusterIndex(index, { typical: 3 });
    assert.deepEqual(again.assignment, assignment);
  });

  it('takes a given number, one and all included', async () => {
    using index = await indexOf(clusteredRows(30, WIDTH, 3, 0.3));
    assert.equal((await clusterIndex(index, { clusters: 1 })).clusters[0]!.rows.length, 30);
    const all = await clusterIndex(index, { clusters: 30 });
    assert.equal(all.clusters.length, 30);
    assert.ok(all.clusters.every(({ tightness }) => tightness > 0.9999));
    await assert.rejects(clusterIndex(index, { clusters: 31 }), /expected 1 to 30/);
  });

  it('says why there are fewer than were asked for', async () => {
    const pictures = unitRows(normals(2 * WIDTH, 31), WIDTH);
    const rows = Array.from({ length: 31 }, (_, i) =>
      i < 30 ? pictures.subarray(0, WIDTH) : pictures.subarray(WIDTH),
    );
    using index = await indexOf(joined(...rows));
    const warnings: string[] = [];
    const onWarning = (message: string) => warnings.push(message);
    const before = liveTensors();
    const { clusters } = await clusterIndex(index, { clusters: 5, onWarning });
    noTensorLeft(before);
    assert.equal(clusters.length, 2);
    assert.deepEqual(warnings, [
      '5 clusters were asked for and there are 2: only 2 of the 31 images differ, the others are copies of them to this model',
    ]);
    await clusterIndex(index, { clusters: 2, onWarning });
    await clusterIndex(index, { onWarning });
    assert.equal(warnings.length, 1);
  });
});

describe('subsets to label', () => {
  it('diverse covers all kinds and the odd one, typical none of the odd, both one of each kind', async () => {
    const odd = unitRows(normals(WIDTH, 13), WIDTH);
    using index = await indexOf(joined(clusteredRows(500, WIDTH, 5, 0.4), odd));
    const kinds = (rows: readonly number[]) => new Set(rows.map((row) => (row === 500 ? 'odd' : row % 5)));
    const diverse = await selectImages(index, { size: 6, by: 'diverse' });
    assert.equal(kinds(diverse).size, 6);
    const both = await selectImages(index, { size: 5 });
    assert.equal(kinds(both).size, 5);
    assert.ok(!both.includes(500));
    const typical = await selectImages(index, { size: 20, by: 'typical' });
    assert.equal(new Set(typical).size, 20);
    assert.ok(!typical.includes(500));
    // typical images are nearer to their neighbours than others
    const { similarities } = await index.neighbours(10);
    const tenth = (row: number) => similarities[row * 10 + 9]!;
    const mean = (rows: readonly number[]) => rows.reduce((sum, row) => sum + tenth(row), 0) / rows.length;
    assert.ok(mean(typical) > mean(Array.from({ length: 500 }, (_, i) => i)) + 0.01);
  });

  it('chooses in view of what has labels', async () => {
    using index = await indexOf(clusteredRows(500, WIDTH, 5, 0.4));
    const labelled = [0, 5, 10, 1, 6]; // of kinds 0 and 1
    for (const by of ['diverse', 'both'] as const) {
      const chosen = await selectImages(index, { size: 3, by, labelled });
      assert.deepEqual(new Set(chosen.map((row) => row % 5)), new Set([2, 3, 4]), by);
    }
    assert.ok(!(await selectImages(index, { size: 495, by: 'typical', labelled })).includes(5));
    await assert.rejects(selectImages(index, { size: 496, labelled }), /expected 1 to 495/);
    assert.deepEqual(
      await selectImages(index, { size: 9, seed: 4 }),
      await selectImages(index, { size: 9, seed: 4 }),
    );
  });
});

describe('the map', () => {
  // DINO_TEST_MAP=100000 measures at full size; see docs/explore.md
  const count = Number(process.env['DINO_TEST_MAP'] ?? 600);
  it(`puts ${count} images beside their like, the same for the same seed, and is kept until images change`, async () => {
    using index = await indexOf(clusteredRows(count, WIDTH, 6, 0.5));
    assert.equal(readMap(index), null);
    const begun = performance.now();
    const positions = await makeMap(index);
    if (count > 1000) console.log(`map of ${count}: ${((performance.now() - begun) / 1000).toFixed(1)} s`);
    assert.deepEqual(readMap(index), positions);
    // of most images the nearest on the map is of their kind
    let good = 0;
    const asked = Math.min(count, 300);
    for (let row = 0; row < asked; row++) {
      let [best, least] = [-1, Infinity];
      for (let other = 0; other < count; other++) {
        const distance = Math.hypot(
          positions[2 * row]! - positions[2 * other]!,
          positions[2 * row + 1]! - positions[2 * other + 1]!,
        );
        if (other !== row && distance < least) [best, least] = [other, distance];
      }
      good += Number(best % 6 === row % 6);
    }
    assert.ok(good >= 0.95 * asked, `${good} of ${asked}`);
    if (count > 1000) return;
    using again = await indexOf(clusteredRows(count, WIDTH, 6, 0.5));
    assert.deepEqual(await makeMap(again), positions);
    assert.notDeepEqual(await makeMap(again, { seed: 1 }), positions);
  });
});

describe('proposals', () => {
  it('gives neighbours of labelled images their label, the surest first, and the labelled none', async () => {
    using index = await indexOf(clusteredRows(300, WIDTH, 3, 0.4));
    const labels = new Map([0, 3, 6, 9].map((row) => [row, 'a']));
    for (const row of [1, 4, 7]) labels.set(row, 'b');
    const proposals = await proposeLabels(index, { labels });
    assert.ok(proposals.length > 10);
    for (const { row, label, certainty } of proposals) {
      assert.ok(!labels.has(row) && certainty >= 0.5);
      assert.equal(label, row % 3 === 0 ? 'a' : 'b');
    }
    assert.deepEqual(await proposeLabels(index, { labels: new Map() }), []);
    await assert.rejects(proposeLabels(index, { labels: new Map([[300, 'a']]) }), /has 300 images/);
  });
});
