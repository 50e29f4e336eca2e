import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { inferArchitecture } from '../weights/architecture.js';
import { scope, withoutMemory } from '../torch/index.js';
import {
  ARCHITECTURES,
  architectureNames,
  FAMILIES,
  hasAttention,
  hasConvStem,
  hasPatchFeatures,
  noPatchFeatures,
  ownSizes,
} from './architectures.js';
import { backboneShapes, buildBackbone, hasTokens, isAttentive } from './index.js';

test('every architecture is built with the sizes of its entry, and told from the others by its tensors', () => {
  const own = { embedDim: 96, depth: 12, numHeads: 4 };
  for (const name of architectureNames) {
    const entry = ARCHITECTURES[name];
    const patchSize = hasConvStem(name) ? 16 : 14; // convolutions of a stem halve the image
    const shapes = backboneShapes({
      arch: name,
      patchSize,
      imgSize: 3 * patchSize,
      ...Object.fromEntries(ownSizes(name).map((size) => [size, own[size]])),
    });
    const inferred = inferArchitecture(shapes, name, entry.numHeads ?? own.numHeads);
    assert.deepEqual(inferred, {
      // of ViT-7B of satellite images the tensors are those of web images
      arch: name.replace('deit', 'vit').replace('vit7b16_sat493m', 'vit7b16'),
      embedDim: entry.embedDim ?? own.embedDim,
      depth: entry.depth ?? own.depth,
      numHeads: entry.numHeads ?? own.numHeads,
      patchSize: entry.patchSize ?? patchSize,
      imgSize: FAMILIES[entry.family].learnsPositions ? 3 * patchSize : 224,
      ...(entry.family === 'dinov2' ? { positionsSize: 42, wholePatches: true } : {}),
    });
    const { parts, anchors } = FAMILIES[entry.family];
    for (const tensor of shapes.keys()) assert.ok(parts.includes(tensor.split('.')[0]!), tensor);
    const isWhole = anchors.some((anchor) => anchor.flat().every((tensor) => shapes.has(tensor)));
    assert.ok(isWhole || anchors.length === 0, name);
  }
});

test('the table says which networks attend, and which give features of patches', () => {
  const own = { embedDim: 96, depth: 12, numHeads: 4 };
  for (const arch of architectureNames)
    scope(() =>
      withoutMemory(() => {
        const backbone = buildBackbone({ arch, ...own });
        assert.equal(isAttentive(backbone), hasAttention(arch), arch);
        assert.equal(hasTokens(backbone), hasPatchFeatures(arch), arch);
      }),
    );
  assert.equal(hasPatchFeatures('custom'), null);
  assert.equal(
    noPatchFeatures('this', 'resnet18'),
    'this needs the features of patches, which a vision transformer, a ConvNeXt or a ResNet with class attention has; ' +
      'this model is resnet18',
  );
});

test('settings are checked without loading libtorch', () => {
  const script = `
    const { settingFields } = await import(${JSON.stringify(new URL('../run/settings.js', import.meta.url).href)});
    if (!settingFields.arch.safeParse('xcit_small_12_p8').success) process.exit(3);
    if (settingFields.arch.safeParse('vit_smal').success) process.exit(4);
    process.report.excludeNetwork = true;
    console.log(JSON.stringify(process.report.getReport().sharedObjects));`;
  const loaded = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  assert.doesNotMatch(loaded, /torch|c10/);
});
