import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ones, randn, tensor, zeros } from '../torch/index.js';
import { CollapseMonitor } from './collapse-monitor.js';
import { targetMeans, teacherStatistics } from './teacher-statistics.js';

const K = 64;
const lnK = Math.log(K);
const center = zeros([1, K]);

test('statistics of uniform, constant and healthy targets', () => {
  const uniform = teacherStatistics(targetMeans(ones([8, K]).div(K)), center);
  assert.ok(Math.abs(uniform.entropy - lnK) < 1e-5);
  assert.ok(uniform.kl < 1e-5);

  const oneHot = zeros([8, K]);
  oneHot.select(1, 3).fill_(1);
  const constant = teacherStatistics(targetMeans(oneHot), center);
  assert.ok(Math.abs(constant.entropy) < 1e-6);
  assert.ok(constant.kl < 1e-6);

  // eight different one-hot answers: confident, and as diverse as eight can be
  const diverse = zeros([8, K]);
  for (let i = 0; i < 8; i++) diverse.select(0, i).select(0, i).fill_(1);
  const { entropy, kl } = teacherStatistics(targetMeans(diverse), center);
  assert.ok(Math.abs(entropy) < 1e-6);
  assert.ok(Math.abs(kl - Math.log(8)) < 1e-5);

  assert.ok(
    Math.abs(
      teacherStatistics(targetMeans(diverse), tensor([[3, 4, ...Array<number>(K - 2).fill(0)]])).centerNorm -
        5,
    ) < 1e-5,
  );
});

test("the divergence matches its definition: the mean over images of KL(p, the batch's mean)", () => {
  const p = randn([16, K]).mul(3).softmax(-1);
  const mean = p.mean([0], true);
  const expected = p.mul(p.log().sub(mean.log())).sum([-1]).mean().item();
  assert.ok(Math.abs(teacherStatistics(targetMeans(p), center).kl - expected) < 1e-4);
});

test('warns once when outputs stay uniform, with advice, and again after a recovery', () => {
  const monitor = new CollapseMonitor({ outDim: K, patience: 100 });
  const flat = { entropy: lnK * 0.99, kl: 0.001, centerNorm: 0 };
  assert.equal(monitor.observe(10, lnK, flat), null, 'a training starts at ln K');
  assert.equal(monitor.observe(60, lnK, flat), null);
  const warning = monitor.observe(110, lnK, flat);
  assert.equal(warning?.kind, 'uniform');
  assert.match(warning?.message ?? '', /ln K.*lower teacher temperature/s);
  assert.equal(monitor.observe(500, lnK, flat), null, 'already reported');
  assert.equal(monitor.observe(510, 2, { entropy: 2, kl: 1.5, centerNorm: 1 }), null);
  assert.equal(monitor.observe(520, lnK, flat), null);
  assert.equal(monitor.observe(620, lnK, flat)?.kind, 'uniform');
});

test('a loss within 2% of ln K counts as uniform whatever the entropy', () => {
  const monitor = new CollapseMonitor({ outDim: K, patience: 0 });
  assert.equal(monitor.observe(1, lnK * 1.019, { entropy: 2, kl: 0.01, centerNorm: 0 })?.kind, 'uniform');
});

test('warns when one output dominates, but not when answers are confident and diverse', () => {
  const monitor = new CollapseMonitor({ outDim: K, patience: 50 });
  assert.equal(monitor.observe(10, 0.1, { entropy: 0.01, kl: 0.001, centerNorm: 9 }), null);
  const warning = monitor.observe(60, 0.1, { entropy: 0.01, kl: 0.001, centerNorm: 9 });
  assert.equal(warning?.kind, 'constant');
  assert.match(warning?.message ?? '', /higher teacher temperature/);
  const healthy = new CollapseMonitor({ outDim: K, patience: 0 });
  assert.equal(healthy.observe(10, 0.1, { entropy: 0.01, kl: 2, centerNorm: 9 }), null);
});

test('says how a training stands, at any time', () => {
  const monitor = new CollapseMonitor({ outDim: K, patience: 100 });
  assert.equal(monitor.verdict().kind, 'unknown');
  const flat = { entropy: lnK * 0.99, kl: 0.001 };
  monitor.observe(10, lnK, flat);
  assert.equal(monitor.verdict().kind, 'early');
  monitor.observe(50, lnK, flat);
  assert.match(monitor.verdict().message, /flat answer .* If it lasts 60 more steps/);
  monitor.observe(150, lnK, flat);
  monitor.observe(160, lnK, flat);
  assert.equal(monitor.verdict().kind, 'uniform');
  assert.match(monitor.verdict().message, /for 150 steps .*lower teacher temperature/);
  monitor.observe(170, 2, { entropy: 2, kl: 1.5 });
  assert.match(monitor.verdict().message, /^Healthy: .*KL to the batch mean 1\.500/);
});
