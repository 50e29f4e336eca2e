/** The reference's own training and validation of linear classifiers, batch for batch (tools/fixtures/make_linear_fixture.py). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { ConfigError } from '../errors.js';
import { normalizeImages, VisionTransformer } from '../models/index.js';
import { fromTypedArray, liveTensors, noGrad, type Tensor } from '../torch/index.js';
import { hashBytes, hashFill, hashWeight } from '../testing/hash-fill.js';
import { LinearProbe, linearLr, probeFeatures, probeWidth } from './linear-probe.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

interface EpochStats {
  train: { loss: number; lr: number };
  val: { loss: number; acc1: number; acc5?: number };
}
interface LinearFixture {
  epochs: number;
  batch: number;
  train: number;
  val: number;
  cases: {
    n: number;
    avgpool: boolean;
    labels: number;
    lr: number;
    epochs: EpochStats[];
    weight: number[];
    bias: number[];
  }[];
}

const file = new URL('../../test/fixtures/eval/linear.json', import.meta.url);
const fixture = JSON.parse(readFileSync(file, 'utf8')) as LinearFixture;
const vit = () => new VisionTransformer({ imgSize: 32, patchSize: 8, embedDim: 24, depth: 3, numHeads: 3 });

const near = (actual: number, expected: number, tolerance: number, what: string) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${what}: ${actual}, expected ${expected}`);

describe('LinearProbe', () => {
  for (const { n, avgpool, labels, lr, epochs, weight, bias } of fixture.cases) {
    it(`trains and validates as the reference: ${n} blocks${avgpool ? ' and mean' : ''}, ${labels} classes`, () => {
      const model = hashFill(vit(), 0.2).eval();
      const settings = { nLastBlocks: n, avgpoolPatchtokens: avgpool };
      const width = probeWidth(model, settings);
      const probe = new LinearProbe(width, labels, { device: 'cpu' });
      const { linear } = probe.classifier;
      (linear.weight.data() as Float32Array).set(hashWeight('linear.weight', [labels, width], 0.01));
      const images = (name: string, count: number) =>
        normalizeImages(fromTypedArray(hashBytes(name, [count, 3, 32, 32]), [count, 3, 32, 32]));
      const run = (all: Tensor, each: (features: Tensor, target: number[]) => void) => {
        for (let start = 0; start < all.size(0); start += fixture.batch) {
          const count = Math.min(fixture.batch, all.size(0) - start);
          const target = Array.from({ length: count }, (_, i) => ((start + i) * 7 + 3) % labels);
          each(
            noGrad(() => probeFeatures(model, all.narrow(0, start, count), settings)),
            target,
          );
        }
      };
      const [train, val] = [images('train', fixture.train), images('val', fixture.val)];
      epochs.forEach((expected, epoch) => {
        const losses: number[] = [];
        const rate = linearLr(lr, fixture.batch, epoch, fixture.epochs);
        run(train, (features, target) => losses.push(probe.trainStep(features, target, rate)));
        const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
        near(rate, expected.train.lr, 1e-12, 'lr');
        near(mean(losses), expected.train.loss, 1e-5, `training loss of epoch ${epoch}`);
        const scores: ReturnType<LinearProbe['score']>[] = [];
        run(val, (features, target) => scores.push(probe.score(features, target)));
        near(
          mean(scores.map((score) => score.loss)),
          expected.val.loss,
          1e-5,
          `validation loss of epoch ${epoch}`,
        );
        const percent = (key: 'top1' | 'top5') =>
          (100 * scores.reduce((sum, score) => sum + (score[key] ?? 0), 0)) / fixture.val;
        near(percent('top1'), expected.val.acc1, 1e-4, 'top-1');
        if (expected.val.acc5 === undefined) assert.equal(scores[0]!.top5, null);
        else near(percent('top5'), expected.val.acc5, 1e-4, 'top-5');
      });
      linear.weight.toArray().forEach((value, i) => near(value, weight[i]!, 1e-5, `weight ${i}`));
      linear.bias!.toArray().forEach((value, i) => near(value, bias[i]!, 1e-5, `bias ${i}`));
    });
  }

  it('starts from the seed, checks its settings, and leaves no tensors', () => {
    const model = vit();
    assert.equal(probeWidth(model, { nLastBlocks: 2, avgpoolPatchtokens: true }), 72);
    for (const nLastBlocks of [0, 4, 1.5]) {
      assert.throws(() => probeWidth(model, { nLastBlocks, avgpoolPatchtokens: false }), ConfigError);
    }
    const before = liveTensors();
    const weights = [1, 1, 2].map((seed) => {
      const probe = new LinearProbe(50, 40, { device: 'cpu', seed });
      const values = probe.classifier.linear.weight.toArray();
      probe.dispose();
      return values;
    });
    noTensorLeft(before);
    assert.deepEqual(weights[0], weights[1]);
    assert.notDeepEqual(weights[0], weights[2]);
    const deviation = Math.sqrt(weights[0]!.reduce((sum, value) => sum + value ** 2, 0) / 2000);
    near(deviation, 0.01, 0.001, 'standard deviation');
  });
});
