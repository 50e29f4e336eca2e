import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { formatHub } from '../cli/weights/hub.js';
import { hubModels } from './hub.js';

describe('hubModels', () => {
  it('lists each official model once, by its own file', () => {
    assert.equal(hubModels.length, 9);
    for (const key of ['name', 'backbone', 'fullCheckpoint', 'args', 'trainingLog', 'evaluationLog'] as const)
      assert.equal(new Set(hubModels.map((model) => model[key])).size, 9, key);
    const text = formatHub(hubModels);
    for (const { name, backbone, fullCheckpoint } of hubModels)
      for (const part of [name, backbone, fullCheckpoint]) assert.ok(text.includes(part));
  });

  // a checkout of facebookresearch/dino, whose README is the source of the table
  const readme = path.join(process.env['DINO_REFERENCE'] ?? '', 'README.md');
  const isThere = process.env['DINO_REFERENCE'] !== undefined && existsSync(readme);
  it(
    "has the numbers and links of the reference's README",
    { skip: !isThere && 'DINO_REFERENCE names no checkout' },
    () => {
      const rows = readFileSync(readme, 'utf8').split('<tr>');
      for (const model of hubModels) {
        const row = rows.find((each) => each.includes(model.backbone));
        assert.ok(row, model.name);
        for (const link of [model.fullCheckpoint, model.args, model.trainingLog, model.evaluationLog])
          assert.ok(row.includes(`"${link}"`), link);
        const cells = [
          `${model.millionParameters}M`,
          `${model.knn.toFixed(1)}%`,
          `${model.linear.toFixed(1)}%`,
        ];
        for (const cell of cells) assert.ok(row.includes(`<td>${cell}</td>`), `${model.name} ${cell}`);
      }
    },
  );
});
