import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { formatDinoV3Hub, formatHub } from '../cli/weights/hub.js';
import { architectureEntry, backboneShapes } from '../models/index.js';
import { hubAdvice, hubModels } from './hub.js';
import { DINOV3_LICENCE, dinoV3HubModels } from './hub-dinov3.js';

const of = (repository: string) =>
  hubModels.filter((model) => model.repository === `facebookresearch/${repository}`);

describe('hubModels', () => {
  it('lists each official model once, by its own file', () => {
    assert.deepEqual([of('dino').length, of('dinov2').length, hubModels.length], [9, 8, 17]);
    for (const key of ['name', 'backbone'] as const)
      assert.equal(new Set(hubModels.map((model) => model[key])).size, 17, key);
    for (const key of ['fullCheckpoint', 'args', 'trainingLog', 'evaluationLog'] as const) {
      assert.equal(new Set(of('dino').map((model) => model[key])).size, 9, key);
      assert.ok(of('dinov2').every((model) => model[key] === null));
    }
    const text = formatHub(hubModels);
    for (const { name, backbone, fullCheckpoint, licence } of hubModels)
      for (const part of [name, backbone, fullCheckpoint ?? '', `(${licence})`])
        assert.ok(text.includes(part));
    const names = hubModels.map(({ name }) => name);
    for (const [, advice] of hubAdvice)
      for (const name of advice.match(/\bdino\w*_\w+/g) ?? []) assert.ok(names.includes(name), name);
  });

  it('says how large each file is: the tensors of its architecture in float32', () => {
    for (const { name, arch, patchSize, megabytes } of hubModels) {
      const imgSize = arch.startsWith('dinov2') ? 518 : 224;
      const shapes = backboneShapes({ arch, imgSize, ...(patchSize === null ? {} : { patchSize }) });
      const values = [...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
      assert.equal(Math.round((4 * values) / 1e6), megabytes, name);
    }
  });

  // checkouts of the repositories, whose READMEs are the source of the table
  for (const [repository, variable] of [
    ['dino', 'DINO_REFERENCE'],
    ['dinov2', 'DINO_REFERENCE_V2'],
  ] as const) {
    const readme = path.join(process.env[variable] ?? '', 'README.md');
    const isThere = process.env[variable] !== undefined && existsSync(readme);
    it(
      `has the numbers and links of the README of facebookresearch/${repository}`,
      { skip: !isThere && `${variable} names no checkout` },
      () => {
        const rows = readFileSync(readme, 'utf8')
          .split('<tr>')
          .map((row) => row.replaceAll(/<td align="\w+">/g, '<td>').replaceAll(/(\d)[ ,](?=\d|M)/g, '$1'));
        for (const model of of(repository)) {
          const row = rows.find((each) => each.includes(model.backbone));
          assert.ok(row, model.name);
          for (const link of [model.fullCheckpoint, model.args, model.trainingLog, model.evaluationLog])
            if (link !== null) assert.ok(row.includes(`"${link}"`), link);
          const cells = [
            `${model.millionParameters}M`,
            `${model.knn.toFixed(1)}%`,
            `${model.linear.toFixed(1)}%`,
          ];
          for (const cell of cells) assert.ok(row.includes(`<td>${cell}</td>`), `${model.name} ${cell}`);
        }
      },
    );
  }
});

describe('dinoV3HubModels', () => {
  it('lists each official network once, its licence before its files', () => {
    assert.equal(dinoV3HubModels.length, 12);
    for (const key of ['arch', 'file', 'huggingFace'] as const)
      assert.equal(new Set(dinoV3HubModels.map((model) => model[key])).size, 12, key);
    const text = formatDinoV3Hub(dinoV3HubModels);
    const licence = text.indexOf(DINOV3_LICENCE.link);
    assert.ok(text.includes(DINOV3_LICENCE.name) && licence >= 0);
    for (const { arch, huggingFace } of dinoV3HubModels) {
      assert.notEqual(architectureEntry(arch), null);
      assert.ok(text.indexOf(arch) > licence && text.indexOf(huggingFace) > licence, arch);
    }
  });

  // a checkout of facebookresearch/dinov3
  const folder = process.env['DINO_REFERENCE_V3'] ?? '';
  const isThere = folder !== '' && existsSync(path.join(folder, 'MODEL_CARD.md'));
  it(
    'has the numbers of MODEL_CARD.md, and the files of hub/backbones.py',
    { skip: !isThere && 'DINO_REFERENCE_V3 names no checkout' },
    () => {
      const card = readFileSync(path.join(folder, 'MODEL_CARD.md'), 'utf8').split('<tr>');
      const hub = readFileSync(path.join(folder, 'dinov3', 'hub', 'backbones.py'), 'utf8');
      const titles: Record<string, string> = {
        ...{ vits16: 'ViT-S/16', vits16plus: 'ViT-S+/16', vitb16: 'ViT-B/16', vitl16: 'ViT-L/16' },
        ...{ vith16plus: 'ViT-H+/16', vit7b16: 'ViT-7B/16' },
        ...{ convnext_tiny: 'ConvNeXt Tiny', convnext_small: 'ConvNeXt Small' },
        ...{ convnext_base: 'ConvNeXt Base', convnext_large: 'ConvNeXt Large' },
      };
      for (const { name, dataset, results, file } of dinoV3HubModels) {
        assert.ok(hub.includes(`"${/-(\w{8})\.pth$/.exec(file)?.[1] ?? ''}"`), file);
        const title = `<td>DINOv3 ${titles[name.replace('dinov3_', '')] ?? ''}</td>`;
        const rows = card.filter((each) => each.includes(title));
        const all = rows.map((row) =>
          [...row.matchAll(/<td[^>]*>([\d.]+)<\/td>/g)].map(([, value]) => Number(value)),
        );
        const isConvNeXt = name.includes('convnext');
        const [web = [], classification = [], segmentation = []] = all;
        const expected =
          dataset === 'SAT-493M'
            ? [classification.at(-1), segmentation.at(-1)]
            : isConvNeXt
              ? [web[0], web[2], web[4], web[6]]
              : [web[0], web[1], web[2], web[4]];
        assert.deepEqual(Object.values(results), expected, `${name} ${dataset}`);
      }
    },
  );
});
