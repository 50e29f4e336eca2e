/** Centring and whitening: what they do to features whose answers are known, and what they refuse. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConfigError, DataError } from '../errors.js';
import { transformFeature } from '../plain/feature-transform.js';
import { unitRows } from '../plain/maps.js';
import { normals } from '../testing/feature-index.js';
import { fromTypedArray, inferenceMode, liveTensors, scope } from '../torch/index.js';
import { chooseBySpectrum, chooseByViews } from './choose-transform.js';
import { fitTransform, IMAGES_PER_COMPONENT, transformRows } from './fit-transform.js';
import { knnClassify } from './knn.js';
import { applyWhitening, fitWhitening } from './whiten-embeddings.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

const WIDTH = 32;

interface Made {
  classes: number;
  /** Length of the part that a class has in common, that an image adds, that a view adds, and that all have. */
  ofClass: number;
  ofImage: number;
  ofView: number;
  common: number;
  /** How steeply the variances of images and views fall from one direction to the next; 0: not. */
  decay: number;
}

const COUNT = 900;
const SAMPLE = 256;

/** Features of images, and of other views of the first 256; image i is of class i % classes. */
function make({ classes, ofClass, ofImage, ofView, common, decay }: Made) {
  const scales = Array.from({ length: WIDTH }, (_, d) => (d + 1) ** -decay);
  const norm = Math.sqrt(scales.reduce((sum, scale) => sum + scale * scale, 0) / WIDTH);
  const [centres, shared] = [normals(classes * WIDTH, 1), normals(WIDTH, 2)];
  const [images, first, second] = [
    normals(COUNT * WIDTH, 3),
    normals(COUNT * WIDTH, 4),
    normals(SAMPLE * WIDTH, 5),
  ];
  const rows = (count: number, views: Float32Array): Float32Array =>
    Float32Array.from({ length: count * WIDTH }, (_, at) => {
      const [i, d] = [Math.floor(at / WIDTH), at % WIDTH];
      const scale = scales[d]! / norm;
      const fixed = common * shared[d]! + ofClass * centres[(i % classes) * WIDTH + d]!;
      return fixed + scale * (ofImage * images[at]! + ofView * views[at]!);
    });
  const labels = Array.from({ length: COUNT }, (_, i) => i % classes);
  return { features: rows(COUNT, first), views: rows(SAMPLE, second), labels };
}

/** Top-1 of the last 300 among the others, with a transform fitted to these. */
function score({ features, labels }: ReturnType<typeof make>, mode: 'none' | 'center' | 'pca'): number {
  const split = 600 * WIDTH;
  return scope(() =>
    inferenceMode(() => {
      const { transform } = fitTransform(fromTypedArray(features.subarray(0, split), [600, WIDTH]), mode);
      const part = (from: number, to: number) => ({
        features: fromTypedArray(
          transformRows(transform, features.subarray(from * WIDTH, to * WIDTH), WIDTH),
          [to - from, WIDTH],
        ),
        labels: labels.slice(from, to),
      });
      return knnClassify(part(0, 600), part(600, 900), { k: [20] }).get(20)!.top1;
    }),
  );
}

function choose({ features, views }: ReturnType<typeof make>) {
  return scope(() =>
    chooseByViews(
      fromTypedArray(features.subarray(0, SAMPLE * WIDTH), [SAMPLE, WIDTH]),
      fromTypedArray(views, [SAMPLE, WIDTH]),
      fromTypedArray(features.subarray(SAMPLE * WIDTH), [COUNT - SAMPLE, WIDTH]),
    ),
  );
}

describe('a fitted transform', () => {
  const rows = make({ classes: 5, ofClass: 0.5, ofImage: 1, ofView: 0, common: 2, decay: 1 }).features;

  it('gives whitened features the identity as their covariance, before they are scaled to length 1', () => {
    using all = fromTypedArray(rows, [COUNT, WIDTH]);
    const { transform, components, shrinkage, remark } = fitTransform(all, 'pca');
    assert.deepEqual([components, remark], [WIDTH, null]);
    assert.ok(shrinkage > 0 && shrinkage < 0.05, String(shrinkage));
    const unit = unitRows(rows, WIDTH);
    const covariance = scope(() => {
      const mean = fromTypedArray(transform.mean!, [WIDTH]);
      const matrix = fromTypedArray(transform.matrix!, [WIDTH, WIDTH]);
      const out = fromTypedArray(unit, [COUNT, WIDTH]).sub(mean).matmul(matrix.t());
      return out.t().matmul(out).div(COUNT).toTypedArray() as Float32Array;
    });
    covariance.forEach((value, at) => {
      const isOnDiagonal = at % (WIDTH + 1) === 0;
      // the shrinkage raises small variances: what is whitened has a little less than 1
      if (isOnDiagonal) assert.ok(value > 0.5 && value < 1.01, `${at}: ${value}`);
      else assert.ok(Math.abs(value) < 1e-3, `${at}: ${value}`);
    });
  });

  it('is the same for one feature in plain JavaScript as for all in the engine', () => {
    using all = fromTypedArray(rows, [COUNT, WIDTH]);
    for (const mode of ['none', 'center', 'pca'] as const) {
      const { transform } = fitTransform(all, mode);
      const engine = transformRows(transform, rows, WIDTH);
      for (const row of [0, 7, 899]) {
        const plain = transformFeature(transform, rows.subarray(row * WIDTH, (row + 1) * WIDTH));
        plain.forEach((value, d) =>
          assert.ok(Math.abs(value - engine[row * WIDTH + d]!) < 1e-5, `${mode} ${row}`),
        );
      }
    }
  });

  it('whitens only as many components as there are images for, and says so', () => {
    for (const count of [1, 2, 15, 40, 200]) {
      using some = fromTypedArray(rows.subarray(0, count * WIDTH), [count, WIDTH]);
      const { transform, components, remark } = fitTransform(some, 'pca');
      const wanted = Math.min(WIDTH, Math.floor(count / IMAGES_PER_COMPONENT));
      if (wanted < 2) {
        assert.equal(transform.mode, count === 1 ? 'none' : 'center');
        assert.match(remark!, count === 1 ? /are the same/ : /too few to whiten/);
        continue;
      }
      assert.deepEqual([transform.mode, components], ['pca', wanted]);
      assert.match(
        String(remark),
        wanted < WIDTH ? new RegExp(`support ${wanted} whitened components of the 32`) : /null/,
      );
      const shown = transformRows(transform, rows.subarray(0, count * WIDTH), WIDTH);
      assert.ok(shown.every(Number.isFinite));
    }
  });

  it('leaves images that are all alike as they are, and whitens a single direction', () => {
    const same = new Float32Array(100 * WIDTH);
    for (let i = 0; i < 100; i++) same.set(rows.subarray(0, WIDTH), i * WIDTH);
    using alike = fromTypedArray(same, [100, WIDTH]);
    for (const mode of ['center', 'pca'] as const) {
      const { transform, remark } = fitTransform(alike, mode);
      assert.equal(transform.mode, 'none');
      assert.match(remark!, /features of all 100 images are the same/);
    }
    const line = same.map((value, at) => value + (at % WIDTH === 3 ? Math.floor(at / WIDTH) / 100 : 0));
    using alongOne = fromTypedArray(line, [100, WIDTH]);
    const { transform } = fitTransform(alongOne, 'pca');
    const shown = transformRows(transform, line, WIDTH);
    assert.ok(shown.every(Number.isFinite));
    const cosine = (a: number, b: number): number =>
      shown
        .subarray(a * WIDTH, (a + 1) * WIDTH)
        .reduce((sum, value, d) => sum + value * shown[b * WIDTH + d]!, 0);
    assert.ok(cosine(0, 1) > 0.99 && cosine(0, 99) < 0, `${cosine(0, 1)}, ${cosine(0, 99)}`);
  });

  it('refuses features that are not finite, and those that are too wide to whiten', () => {
    const bad = rows.slice();
    bad[5 * WIDTH + 3] = NaN;
    using broken = fromTypedArray(bad, [COUNT, WIDTH]);
    assert.throws(() => fitTransform(broken, 'center'), DataError);
    assert.throws(() => fitWhitening(bad, WIDTH, 'pca'), /row 5: its features contain NaN/);
    assert.throws(() => applyWhitening(fitWhitening(rows, WIDTH, 'pca'), bad), /row 5: /);
    using wide = fromTypedArray(new Float32Array(4 * 4100), [4, 4100]);
    assert.throws(() => fitTransform(wide, 'pca'), ConfigError);
  });

  it('leaves no tensors behind', () => {
    using all = fromTypedArray(rows, [COUNT, WIDTH]);
    const before = liveTensors();
    const { transform } = fitTransform(all, 'pca');
    transformRows(transform, rows, WIDTH);
    chooseBySpectrum(all);
    noTensorLeft(before);
  });
});

describe('the choice without labels', () => {
  const plain = { classes: 10, ofClass: 0.5, ofImage: 1, ofView: 0.5, common: 0, decay: 0 };
  const strong: Record<string, Made> = {
    'directions that all count': plain,
    'views that differ much': { ...plain, ofView: 1 },
    'tight clusters': { ...plain, ofClass: 3, ofImage: 0.5 },
    'noisy clusters': { ...plain, ofClass: 1, ofImage: 0.5, ofView: 1 },
    'many tight clusters': { ...plain, classes: 60, ofClass: 1.5 },
    'a common direction': { ...plain, common: 1 },
    'variances that fall slowly': { ...plain, decay: 0.5 },
  };
  for (const [name, made] of Object.entries(strong))
    it(`does not harm strong features: ${name}`, () => {
      const data = make(made);
      const { mode, reason } = choose(data);
      const [chosen, before] = [score(data, mode), score(data, 'none')];
      assert.ok(chosen >= before - 0.5, `${mode}: ${chosen} in place of ${before}; ${reason}`);
      using all = fromTypedArray(data.features, [COUNT, WIDTH]);
      const without = chooseBySpectrum(all);
      assert.ok(score(data, without.mode) >= before - 1, `${without.mode}: ${without.reason}`);
    });

  it('whitens features that a few directions drown, and they become better', () => {
    const data = make({ classes: 10, ofClass: 0.15, ofImage: 1, ofView: 0.5, common: 3, decay: 2 });
    const { mode, retrieval } = choose(data);
    assert.equal(mode, 'pca');
    assert.ok(retrieval!.pca! > retrieval!.none! + 0.2, JSON.stringify(retrieval));
    assert.ok(
      score(data, 'pca') > score(data, 'none') + 10,
      `${score(data, 'none')} to ${score(data, 'pca')}`,
    );
    using all = fromTypedArray(data.features, [COUNT, WIDTH]);
    assert.equal(chooseBySpectrum(all).mode, 'pca');
  });

  it('takes features as they are where images are too few to judge by', () => {
    const { features } = make(plain);
    using few = fromTypedArray(features.subarray(0, 63 * WIDTH), [63, WIDTH]);
    assert.deepEqual(chooseBySpectrum(few).mode, 'none');
    assert.match(chooseBySpectrum(few).reason, /63 images are too few to judge by \(64 or more/);
  });
});
