/** Copy detection against the reference's own script (tools/fixtures/make_copy_detection_fixture.py). */
import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import sharp from 'sharp';
import { fixtureImage } from '../testing/fixture-image.js';
import { ConfigError, DataError } from '../errors.js';
import { type Backbone, buildBackbone, hasTokens, VisionTransformer } from '../models/index.js';
import { hashFill } from '../testing/hash-fill.js';
import { liveTensors, noGrad, ops, scope, tensor } from '../torch/index.js';
import { loadModel, Model } from '../model.js';
import { writeSafetensors } from '../weights/safetensors.js';
import { copyFeatures, evaluateCopyDetection, scoreCopies, search } from './copy-detection.js';
import { featureTable } from './features.js';
import { learnWhitening, whiten } from './whitening.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

interface CopyFixture {
  imsize: number;
  originals: number;
  strong: number;
  distractors: number;
  whitening: number;
  blocks: string[];
  runs: {
    distractors: boolean;
    whitening: boolean;
    map: number[];
    microAp: number[];
    similarity: number[];
  }[];
}
const file = new URL('../../test/fixtures/eval/copy-detection.json', import.meta.url);
const fixture = JSON.parse(readFileSync(file, 'utf8')) as CopyFixture;
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-copies-'));
const copydays = path.join(folder, 'copydays');
let model: Model;

interface Picture {
  data: Uint8Array;
  width: number;
  height: number;
}

function cut({ data, width }: Picture, left: number, top: number, right: number, bottom: number): Picture {
  const rows: number[] = [];
  for (let y = top; y < bottom; y++)
    rows.push(...data.subarray((y * width + left) * 3, (y * width + right) * 3));
  return { data: Uint8Array.from(rows), width: right - left, height: bottom - top };
}
const map = (picture: Picture, change: (value: number) => number): Picture => ({
  ...picture,
  data: picture.data.map(change),
});
const darker = (picture: Picture) => map(picture, (value) => Math.floor((value * 4) / 5) + 10);
const reversed = (picture: Picture): Picture => ({
  ...picture,
  data: picture.data.map((_, at) => picture.data[at - (at % 3) + 2 - (at % 3)]!),
});
const sourceOf = (kind: string, i: number) =>
  kind === 'strong' ? Math.floor((i * fixture.originals) / fixture.strong) : i;

/** The same as picture() of the fixture's script. */
function picture(kind: string, i: number): Picture {
  const make = (width: number, height: number, seed: number): Picture => ({
    ...{ width, height, data: fixtureImage(width, height, seed) },
  });
  if (kind === 'distractor') return make(36 + (i % 5), 30 + (i % 7), 100 + i);
  if (kind === 'whitening') return make(36 + (i % 5), 30 + (i % 7), 200 + i);
  const original = make(44, 38, sourceOf(kind, i));
  if (kind === 'jpegqual/3') return darker(original);
  if (kind === 'crops/40') return cut(original, 3, 4, 39, 30);
  if (kind === 'strong') return darker(reversed(cut(original, 2 + i, 6 + i, 30 + i, Math.min(28 + i, 38))));
  return original;
}

async function save(where: string, kind: string, count: number, name: (i: number) => string): Promise<void> {
  mkdirSync(path.join(folder, where), { recursive: true });
  for (let i = 0; i < count; i++) {
    const { data, width, height } = picture(kind, i);
    const png = await sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer();
    writeFileSync(path.join(folder, where, name(i)), png);
  }
}

before(async () => {
  const network = new VisionTransformer({ imgSize: 32, patchSize: 8, embedDim: 24, depth: 3, numHeads: 3 });
  writeSafetensors(path.join(folder, 'weights.safetensors'), hashFill(network, 0.2).stateDict());
  model = loadModel(path.join(folder, 'weights.safetensors'), { device: 'cpu', numHeads: 3 });
  for (const block of fixture.blocks) {
    const isStrong = block === 'strong';
    await save(`copydays/${block}`, block, isStrong ? fixture.strong : fixture.originals, (i) => {
      return `${2000 + sourceOf(block, i)}${String(isStrong ? i : 0).padStart(2, '0')}.jpg`;
    });
  }
  const number = (i: number) => `${String(i).padStart(4, '0')}.jpg`;
  await save('distractors', 'distractor', fixture.distractors, number);
  await save('whitening', 'whitening', fixture.whitening, number);
});
after(() => rmSync(folder, { recursive: true }));

const near = (actual: number, expected: number, tolerance: number, what: string) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${what}: ${actual}, expected ${expected}`);

describe('evaluateCopyDetection', () => {
  for (const run of fixture.runs) {
    const with_ = [run.distractors ? 'distractors' : null, run.whitening ? 'whitening' : null];
    it(`gives the reference's scores with ${with_.filter(Boolean).join(' and ') || 'the originals alone'}`, async () => {
      const parts = new Set<string>();
      const warnings: string[] = [];
      const before = liveTensors();
      const result = await evaluateCopyDetection(model, {
        dataPath: copydays,
        imsize: fixture.imsize,
        numWorkers: 0,
        ...(run.distractors ? { distractorsPath: path.join(folder, 'distractors') } : {}),
        ...(run.whitening ? { whiteningPath: path.join(folder, 'whitening') } : {}),
        onProgress: ({ part, done, total }) => parts.add(`${part} ${done}/${total}`),
        onWarning: (message) => warnings.push(message),
      });
      noTensorLeft(before);
      assert.ok(parts.has('copies 27/27'));
      assert.match(warnings.join(), /lacks jpegqual\/5, .*crops\/80: not measured/);
      assert.deepEqual(Object.keys(result.blocks), fixture.blocks);
      fixture.blocks.forEach((block, i) => {
        near(result.blocks[block]!.map, 100 * run.map[i]!, 1e-3, `${block} map`);
        near(result.blocks[block]!.microAp, 100 * run.microAp[i]!, 1e-3, `${block} micro-AP`);
      });
      assert.equal(result.copies!.queries, 21);
      assert.equal(result.whitening, run.whitening ? fixture.whitening : 0);
      assert.equal(result.distractors, run.distractors ? fixture.distractors : 0);
    });
  }

  it('has the similarities of the reference, also after whitening', async () => {
    const backbone = model.backbone as VisionTransformer;
    const table = (files: string[]) =>
      featureTable(
        backbone,
        files.map((name) => ({ path: path.join(folder, name), label: null })),
        {
          ...{ crop: fixture.imsize, fit: 'stretch', numWorkers: 0, device: 'cpu' },
          compute: (images) => copyFeatures(backbone, images),
        },
      );
    const list = (where: string) =>
      readdirSync(path.join(folder, where))
        .sort()
        .map((name) => path.join(where, name));
    const copies = await table(fixture.blocks.flatMap((block) => list(`copydays/${block}`)));
    const [distractors, whitening, none] = [
      await table(list('distractors')),
      await table(list('whitening')),
      await table([]),
    ];
    for (const run of fixture.runs) {
      const given = [run.distractors ? distractors : none, run.whitening ? whitening : none] as const;
      const { similarity } = search(copies, ...given, fixture.originals, 'cpu');
      assert.equal(similarity.length, run.similarity.length);
      similarity.forEach((value, i) => near(value, run.similarity[i]!, 1e-4, `similarity ${i}`));
    }
  });

  for (const options of [
    { arch: 'dinov2_vit_reg', embedDim: 32, depth: 2, numHeads: 2, patchSize: 8, imgSize: 32 },
    { arch: 'dinov3_vit', embedDim: 32, depth: 2, numHeads: 2, patchSize: 8, imgSize: 32 },
    { arch: 'dinov3_convnext', embedDim: 64, depth: 6, numHeads: 0, patchSize: 32, imgSize: 64 },
  ] as const)
    it(`takes a ${options.arch}, whose registers are no patches, and finds originals`, async () => {
      const backbone: Backbone = hashFill(buildBackbone(options), 0.1).eval();
      if (!hasTokens(backbone)) throw new Error(`${options.arch} has no tokens`);
      using other = new Model(backbone, options, 'memory', 'cpu');
      const { blocks } = await evaluateCopyDetection(other, {
        dataPath: copydays,
        imsize: 64,
        numWorkers: 0,
      });
      near(blocks['original']!.map, 100, 1e-6, 'originals are their own copies');
      scope(() =>
        noGrad(() => {
          const images = tensor(Array.from({ length: 3 * 64 * 64 }, (_, i) => Math.sin(i))).view([
            1, 3, 64, 64,
          ]);
          const tokens = backbone.forwardTokens(images);
          const pooled = tokens
            .slice(1, backbone.prefixTokens)
            .clampMin(1e-6)
            .pow(4)
            .mean([1])
            .pow(1 / 4);
          const expected = ops.cat([backbone.forward(images), pooled], 1).toArray();
          copyFeatures(backbone, images)
            .toArray()
            .forEach((value, i) => near(value, expected[i]!, 1e-5, `feature ${i}`));
        }),
      );
    });

  it('takes .JPG and .jpeg too, and says what else it found', async () => {
    const other = path.join(folder, 'named-otherwise');
    cpSync(copydays, other, { recursive: true });
    const evaluate = (dataPath: string) =>
      evaluateCopyDetection(model, { dataPath, imsize: 32, numWorkers: 0 });
    const { leftOut, remarks, ...same } = await evaluate(copydays);
    assert.deepEqual([leftOut.count, remarks], [0, []]);
    for (const [name, ending] of [
      ['original', '.JPG'],
      ['strong', '.jpeg'],
    ] as const) {
      const [first] = readdirSync(path.join(other, name)).sort();
      const file = path.join(other, name, first!);
      renameSync(file, file.replace('.jpg', ending));
    }
    for (const name of ['original/notes.txt', 'strong/more.png', 'strong/other.PNG', 'strong/.hidden'])
      writeFileSync(path.join(other, name), 'x');
    for (const name of ['strong/deeper', 'crops/35']) mkdirSync(path.join(other, name));
    const { leftOut: found, remarks: lines, ...scores } = await evaluate(other);
    assert.deepEqual(scores, same);
    assert.deepEqual(found, { count: 3, byExtension: { '.png': 2, '.txt': 1 } });
    assert.match(lines[0]!, /named-otherwise: 3 other files were left out \(2 \.png, 1 \.txt\)/);
    assert.match(lines[1]!, /folders that are none of Copydays' were left out: strong\/deeper, crops\/35$/);
    // what macOS leaves beside each file on other disks
    writeFileSync(path.join(other, 'original', '._200000.jpg'), 'x');
    assert.equal((await evaluate(other)).originals, fixture.originals);
    const none = path.join(folder, 'pngs');
    mkdirSync(path.join(none, 'original'), { recursive: true });
    writeFileSync(path.join(none, 'original', 'a.png'), 'x');
    await assert.rejects(evaluate(none), /holds no original.*holds other files instead \(1 \.png\)/);
  });

  it('pairs copies with originals by name, and by place where no names are the same', async () => {
    const evaluate = (dataPath: string) =>
      evaluateCopyDetection(model, { dataPath, imsize: 32, numWorkers: 0 });
    const scoresOf = async (dataPath: string) => {
      const { blocks, remarks } = await evaluate(dataPath);
      return { scores: blocks['jpegqual/3'], remarks };
    };
    const same = await scoresOf(copydays);
    const renamed = (name: string, nameOf: (i: number, file: string) => string): string => {
      const place = path.join(folder, name);
      cpSync(copydays, place, { recursive: true });
      const block = path.join(place, 'jpegqual', '3');
      readdirSync(block)
        .sort()
        .forEach((file, i) => renameSync(path.join(block, file), path.join(block, `moved-${i}`)));
      for (const [i, file] of readdirSync(path.join(place, 'original')).sort().entries())
        renameSync(path.join(block, `moved-${i}`), path.join(block, nameOf(i, file)));
      return place;
    };
    // capital endings sort before the others
    const capitals = renamed('capitals', (i, file) => (i < 3 ? file : file.replace('.jpg', '.JPEG')));
    const originals = path.join(capitals, 'original');
    for (const [i, file] of readdirSync(originals).sort().entries())
      if (i === 0) renameSync(path.join(originals, file), path.join(originals, file.replace('.jpg', '.JPG')));
    assert.deepEqual((await scoresOf(capitals)).scores, same.scores);
    const numbered = await scoresOf(renamed('numbered', (i) => `copy ${i}.jpg`));
    assert.deepEqual(numbered.scores, same.scores);
    assert.match(
      numbered.remarks.join(),
      /the names in jpegqual\/3 are not those of the originals: .* order/,
    );
    // one copy too many, and another missing: by place, all between them would be wrong
    await assert.rejects(
      evaluate(renamed('shifted', (i, file) => (i === 5 ? '100000.jpg' : file))),
      /jpegqual\/3: 6 JPEG files for 6 .*copies of no original: 100000\.jpg; originals without a copy: 200500\.jpg/,
    );
  });

  it('names everything that does not fit', async () => {
    const bad = path.join(folder, 'bad');
    cpSync(copydays, bad, { recursive: true });
    const evaluate = (more: object = {}) =>
      evaluateCopyDetection(model, { dataPath: bad, imsize: 32, numWorkers: 0, ...more });
    renameSync(path.join(bad, 'strong', '200406.jpg'), path.join(bad, 'strong', '999906.jpg'));
    rmSync(path.join(bad, 'crops', '40', '200100.jpg'));
    await assert.rejects(evaluate(), (error) => {
      assert.ok(error instanceof DataError);
      assert.match(error.message, /strong\/999906\.jpg: no original begins with 9999/);
      assert.match(
        error.message,
        /crops\/40: 5 JPEG files for 6 originals, .*; originals without a copy: 200100\.jpg$/m,
      );
      return true;
    });
    rmSync(path.join(bad, 'strong'), { recursive: true });
    for (const name of ['200100.jpg', '200300.jpg'])
      writeFileSync(path.join(bad, 'crops', '40', name), 'no image');
    await assert.rejects(evaluate(), /2 images of .*bad can't be read:\n.*200100.*\n.*200300/);
    const broken = path.join(folder, 'broken');
    mkdirSync(broken);
    writeFileSync(path.join(broken, 'a.jpg'), 'no image');
    rmSync(path.join(bad, 'crops'), { recursive: true });
    await assert.rejects(evaluate({ distractorsPath: broken }), /broken: none of its 1 images can be read/);
    await assert.rejects(evaluate({ whiteningPath: path.join(folder, 'none') }), DataError);
    await assert.rejects(evaluate({ imsize: 7 }), ConfigError);
    await assert.rejects(evaluateCopyDetection(model, { dataPath: folder }), /holds no original/);
  });
});

describe('scoreCopies', () => {
  it('ranks all results together for micro-AP', () => {
    const scores = scoreCopies([
      { similarities: [0.9, 0.2], hits: [true, false], total: 1 },
      { similarities: [0.95, 0.8], hits: [false, true], total: 2 },
    ]);
    // places 2 and 3 of 4, of 3 true ones
    near(scores.microAp, (100 * (1 / 2 + 2 / 3)) / 3, 1e-9, 'micro-AP');
    near(scores.map, 100 * ((1 + (0 + 1 / 2) / 2 / 2) / 2), 1e-9, 'map');
  });
});

describe('whitening', () => {
  it('gives the features that it was learnt on unit second moments', () => {
    const rows = tensor([
      [2, 0.1],
      [-2, 0.3],
      [0.2, 1],
      [0.1, -1.2],
    ]);
    const { mean, matrix } = learnWhitening(rows);
    const white = whiten({ mean: mean.mul(0), matrix }, rows);
    const moments = white.t().matmul(white).div(4).toArray();
    [1, 0, 0, 1].forEach((value, i) => near(moments[i]!, value, 1e-5, `moment ${i}`));
    // the mean is taken off all the same
    const centred = whiten({ mean, matrix }, mean.unsqueeze(0)).toArray();
    centred.forEach((value) => near(value, 0, 1e-7, 'centre'));
  });
});
