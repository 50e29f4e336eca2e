/** docs/scaling.md shows the numbers of bench/scaling.mjs; these agree with the models that are built here. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { buildBackbone, DINOHead } from '#built/models/index.js';
import { packageRoot } from '#scripts/find-libtorch.mjs';

interface Scaling {
  fill(page: string): string;
  parameters(arch: string): { backbone: number; head: number };
  checks(): { share: number; rows: string[][] };
  plan(arch: string, gpus: number): { step: number; compute: number; exposed: number; hours: number };
}
const scaling = (await import(pathToFileURL(path.join(packageRoot, 'bench', 'scaling.mjs')).href)) as Scaling;

/** Without the spaces and dashes by which prettier lines up a table. */
const plain = (text: string): string =>
  text
    .replaceAll(/ *\| */g, '|')
    .replaceAll(/-{3,}/g, '---')
    .replaceAll(/\n+/g, '\n');

test('the page shows what the script computes', () => {
  const page = readFileSync(path.join(packageRoot, 'docs', 'scaling.md'), 'utf8');
  assert.ok(page.includes('72.6 h'));
  assert.equal(plain(scaling.fill(page)), plain(page), 'run: node bench/scaling.mjs --write');
});

test('its models have the parameters of those that are trained', () => {
  for (const arch of ['vit_small', 'vit_base'] as const) {
    const backbone = buildBackbone({ arch, patchSize: 16, imgSize: 224 });
    const head = new DINOHead({ inDim: backbone.embedDim, outDim: 65536 });
    const count = (module: { parameters(): Iterable<{ numel: number }> }): number =>
      [...module.parameters()].reduce((sum, { numel }) => sum + numel, 0);
    const computed = scaling.parameters(arch);
    assert.ok(
      Math.abs(count(backbone) / computed.backbone - 1) < 1e-4,
      `${count(backbone)} ${computed.backbone}`,
    );
    assert.ok(Math.abs(count(head) / computed.head - 1) < 1e-4, `${count(head)} ${computed.head}`);
    backbone.dispose();
    head.dispose();
  }
});

test('the paper and the reference’s README are met within 8%, by one fitted number', () => {
  const { share, rows } = scaling.checks();
  assert.ok(share > 0.05 && share < 0.15);
  const off = rows.map((row) => row.at(-1)).filter((cell) => cell !== 'fitted');
  assert.equal(off.length, 5);
  for (const cell of off) assert.ok(Math.abs(Number.parseFloat(cell!)) < 8, cell);
});

test('more GPUs never make a training slower or cheaper in this model', () => {
  for (const arch of ['vit_small', 'vit_base', 'vit_large']) {
    const plans = [1, 8, 16, 64, 256, 1024].map((gpus) => ({ gpus, ...scaling.plan(arch, gpus) }));
    plans.slice(1).forEach((next, i) => {
      assert.ok(next.hours <= plans[i]!.hours);
      assert.ok(next.hours * next.gpus >= plans[i]!.hours * plans[i]!.gpus * 0.999);
      assert.ok(Math.abs(next.step - next.compute - next.exposed) < 1e-12);
    });
  }
});
