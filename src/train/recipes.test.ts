import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Reached, reachedIn } from './reached.js';
import { type Conditions, RECIPES, recipeFor } from './recipes.js';

const conditions: Conditions = { isGpu: false, cores: 2, images: 4000, side: 64, seconds: 600 };

test('there is a recipe for any conditions, and the first that holds is taken', () => {
  for (const isGpu of [false, true])
    for (const cores of [1, 16, 64])
      for (const images of [1, 9999, 10_000, 20_000, 100_000, 2_000_000])
        for (const seconds of [null, 1, 600, 28_800]) {
          const found = recipeFor({ ...conditions, isGpu, cores, images, seconds });
          const earlier = RECIPES.slice(0, RECIPES.indexOf(found));
          assert.ok(RECIPES.includes(found));
          assert.ok(earlier.every(({ when }) => when.isGpu !== isGpu || when.images !== undefined));
        }
  const nameFor = (some: Partial<Conditions>): string => recipeFor({ ...conditions, ...some }).name;
  assert.equal(nameFor({}), 'narrow ResNet');
  assert.equal(nameFor({ cores: 16, images: 20_000 }), 'tiny transformer');
  assert.equal(nameFor({ isGpu: true, images: 100_000 }), "the paper's");
});

test("of a recipe for another backbone, what doesn't depend on it stays", () => {
  const { settings } = recipeFor(conditions, { arch: 'resnet18' });
  assert.equal(settings.arch, undefined);
  assert.equal(settings.embedDim, undefined);
  assert.equal(settings.lr, 0.004);
  assert.equal(
    recipeFor({ ...conditions, isGpu: true, images: 20_000 }, { arch: 'vit_tiny' }).name,
    'tiny transformer on a GPU',
  );
});

test('settings of a transformer or of prototypes choose a recipe that has them', () => {
  assert.equal(recipeFor(conditions, { numHeads: 2 }).name, 'narrow transformer');
  assert.equal(recipeFor(conditions, { patchSize: 4 }).name, 'narrow transformer');
  const wide = recipeFor(conditions, { embedDim: 384 });
  assert.match(wide.reasons?.arch ?? '', /^--embed-dim without --arch means a transformer/);
  assert.equal(recipeFor(conditions, { arch: 'resnet', embedDim: 384 }).settings.arch, 'resnet');
  const { settings } = recipeFor(conditions, { outDim: 512 });
  assert.equal(settings.arch, 'resnet');
  assert.equal(settings.loss, undefined);
  assert.equal(recipeFor(conditions, { loss: 'simdino', outDim: 64 }).settings.loss, 'simdino');
});

test('what runs of this length reached is said of the nearest measured ones, and nothing without any', () => {
  const row = (dataset: string, seconds: number, top1: number): Reached => ({
    ...{ dataset, seconds, top1, images: 10_000, side: 32, cores: 2, untrained: 27, pixels: 31.6 },
  });
  const rows = [
    row('cifar10-mini', 240, 40.1),
    row('cifar10-mini', 660, 47.2),
    row('imagenette-mini', 600, 42),
  ];
  const said = reachedIn(600, 5_000, rows);
  assert.match(
    said ?? '',
    /47\.2 on cifar10-mini \(11m00s on 2 cores; raw pixels 31\.6, untrained 27\.0\), 42\.0 on imagenette/,
  );
  assert.doesNotMatch(said ?? '', /40\.1|far fewer/);
  assert.match(
    reachedIn(600, 40, rows) ?? '',
    /; 40 images are far fewer than any .* \(at least 10000\), so expect less$/,
  );
  assert.equal(reachedIn(5, 5_000, rows), null);
  assert.equal(reachedIn(600, 5_000, []), null);
});
