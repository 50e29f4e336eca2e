/**
 * Three readings of the same features by the product's weighted k-NN: as they are; with the mean of the training features
 * subtracted; and PCA-whitened, as `dino index` and `dino embed --whiten` do it, fitted on the training features.
 */
import { fitTransform, tensorTransform } from '../../dist/eval/fit-transform.js';
import { KNN_DEFAULTS, knnClassify } from '../../dist/eval/knn.js';
import { principalAxes } from '../../dist/explain/principal-axes.js';
import { fromTypedArray, inferenceMode, scope } from '../../dist/torch/index.js';

export const K = 20;
export const READINGS = ['asIs', 'centred', 'whitened'];
const MODES = { asIs: 'none', centred: 'center', whitened: 'pca' };

/** Components of whitened pixels. */
export const PIXEL_COMPONENTS = 128;

const tensorOf = ({ rows, labels }) => fromTypedArray(rows, [labels.length, rows.length / labels.length]);

/** Top-1 in per cent. */
function vote(x, train, y, val) {
  const [a, b] = [
    { features: x, labels: train.labels },
    { features: y, labels: val.labels },
  ];
  return knnClassify(a, b, { k: [K], temperature: KNN_DEFAULTS.temperature }).get(K).top1;
}

/** @param train, val - { rows: Float32Array, labels } with one row for each label. */
export function readings(train, val) {
  if ([...train.rows, ...val.rows].some((value) => !Number.isFinite(value)))
    return { asIs: null, centred: null, whitened: null, problem: 'some features are not finite' };
  const remarks = [];
  const scores = READINGS.map((name) =>
    scope(() => {
      const [x, y] = [tensorOf(train), tensorOf(val)];
      const { transform, remark } = fitTransform(x, MODES[name]);
      if (remark !== null) remarks.push(remark);
      const apply = tensorTransform(transform, 'cpu');
      return [name, vote(apply(x), train, apply(y), val)];
    }),
  );
  return { ...Object.fromEntries(scores), ...(remarks.length === 0 ? {} : { remarks }) };
}

/**
 * (N, D) centred to the axes of largest variance, each divided by its deviation. Pixels have more values than
 * fitTransform() takes: where images are fewer, the axes come from their products with each other.
 */
function largestComponents(train, val, count) {
  const [images, width] = train.shape;
  const isWide = width > images;
  const product = isWide ? train.matmul(train.t()) : train.t().matmul(train);
  const { variances, axes } = principalAxes(product.div(images), Math.min(count, width, images - 1));
  const deviations = variances.clampMin(1e-12).sqrt().to('float32'); // (K)
  const columns = isWide
    ? train
        .t()
        .matmul(axes.to('float32'))
        .div(deviations.mul(Math.sqrt(images))) // (D, K) of length 1
    : axes.to('float32');
  const matrix = columns.div(deviations);
  return [train.matmul(matrix), val.matmul(matrix)];
}

/** The readings of pixels: as they are, without the mean image, and their largest components whitened. */
export function pixelReadings(train, val) {
  return inferenceMode(() =>
    scope(() => {
      const [x, y] = [tensorOf(train), tensorOf(val)];
      const asIs = vote(x, train, y, val);
      const mean = x.mean([0], true);
      const [cx, cy] = [x.sub(mean), y.sub(mean)];
      const centred = vote(cx, train, cy, val);
      const [wx, wy] = largestComponents(cx, cy, PIXEL_COMPONENTS);
      return { asIs, centred, whitened: vote(wx, train, wy, val) };
    }),
  );
}

/** The reading of HOG: without the mean. */
export function hogReadings(train, val) {
  return inferenceMode(() =>
    scope(() => {
      const [x, y] = [tensorOf(train), tensorOf(val)];
      const mean = x.mean([0], true);
      return { centred: vote(x.sub(mean), train, y.sub(mean), val) };
    }),
  );
}

/** The mean of each reading over domains. */
export function meanReadings(by) {
  const all = Object.values(by);
  const names = READINGS.filter((name) => all[0][name] !== undefined);
  return Object.fromEntries(
    names.map((name) => {
      const values = all.map((each) => each[name]);
      const isWhole = values.every((value) => value !== null);
      return [name, isWhole ? values.reduce((a, b) => a + b, 0) / values.length : null];
    }),
  );
}
