/** Retrieval against the reference's own script and functions (tools/fixtures/make_retrieval_fixture.py). */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { fixtureImage } from '../testing/fixture-image.js';
import { CheckpointError, ConfigError, DataError } from '../errors.js';
import { VisionTransformer } from '../models/index.js';
import { liveTensors } from '../torch/index.js';
import { hashFill, hashWords } from '../testing/hash-fill.js';
import { loadModel, type Model } from '../model.js';
import { writeSafetensors } from '../weights/safetensors.js';
import { evaluateRetrieval, features, rankBySimilarity } from './retrieval.js';
import { computeMap } from './retrieval-scores.js';
import { PROTOCOLS, type Protocol, readRevisited, truthOf } from './revisited.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

interface Gnd {
  bbx: [number, number, number, number];
  easy: number[];
  hard: number[];
  junk: number[];
}
type Scores = Record<Protocol, { map: number; aps: (number | null)[]; mp: number[]; prs: (number | null)[] }>;
interface RetrievalFixture {
  imsize: number;
  sizes: [number, number][];
  pickle: string;
  images: string[];
  queries: string[];
  maps: { count: number; gnd: Gnd[]; scores: Scores }[];
  runs: { multiscale: boolean; similarity: number[]; scores: Scores }[];
}

const file = new URL('../../test/fixtures/eval/retrieval.json', import.meta.url);
const fixture = JSON.parse(readFileSync(file, 'utf8')) as RetrievalFixture;
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-retrieval-'));
let model: Model;
before(async () => {
  const network = new VisionTransformer({ imgSize: 32, patchSize: 8, embedDim: 24, depth: 3, numHeads: 3 });
  writeSafetensors(path.join(folder, 'weights.safetensors'), hashFill(network, 0.2).stateDict());
  model = loadModel(path.join(folder, 'weights.safetensors'), { device: 'cpu', numHeads: 3 });
  const jpg = path.join(folder, 'roxford5k', 'jpg');
  mkdirSync(jpg, { recursive: true });
  writeFileSync(path.join(folder, 'roxford5k', 'gnd_roxford5k.pkl'), Buffer.from(fixture.pickle, 'base64'));
  for (const [i, name] of [...fixture.images, ...fixture.queries].entries()) {
    const [width, height] = fixture.sizes[i % fixture.sizes.length]!;
    const raw = { width, height, channels: 3 as const };
    const png = await sharp(fixtureImage(width, height, i), { raw })
      .png()
      .toBuffer();
    writeFileSync(path.join(jpg, `${name}.jpg`), png);
  }
});
after(() => rmSync(folder, { recursive: true }));

const near = (
  actual: number | null | undefined,
  expected: number | null,
  tolerance: number,
  what: string,
) => {
  const [a, b] = [actual ?? NaN, expected ?? NaN];
  assert.ok(Math.abs(a - b) <= tolerance || (Number.isNaN(a) && Number.isNaN(b)), `${what}: ${a}, not ${b}`);
};

describe('computeMap', () => {
  for (const { count, gnd, scores } of fixture.maps) {
    it(`is the reference's compute_map: ${gnd.length} queries among ${count} images`, () => {
      const rankings = gnd.map((_, query) => {
        const words = hashWords(`ranks ${count} ${query}`, count);
        return Array.from(words.keys()).sort((a, b) => words[a]! - words[b]! || a - b);
      });
      for (const protocol of PROTOCOLS) {
        const truths = gnd.map((entry) => truthOf({ ...entry, box: entry.bbx }, protocol));
        const { map, mp, aps, precisions } = computeMap(rankings, truths);
        const expected = scores[protocol];
        near(map, expected.map, 1e-12, `${protocol} map`);
        mp.forEach((value, i) => near(value, expected.mp[i]!, 1e-12, `${protocol} mp`));
        aps.forEach((value, i) => near(value, expected.aps[i]!, 1e-12, `${protocol} ap ${i}`));
        precisions
          .flat()
          .forEach((value, i) => near(value, expected.prs[i]!, 1e-12, `${protocol} precision`));
      }
    });
  }
});

describe('evaluateRetrieval', () => {
  for (const { multiscale, scores } of fixture.runs) {
    it(`gives the reference's scores${multiscale ? ' over three scales' : ''}`, async () => {
      const parts = new Set<string>();
      const before = liveTensors();
      const result = await evaluateRetrieval(model, {
        dataPath: folder,
        imsize: fixture.imsize,
        multiscale,
        batchSize: 10,
        numWorkers: 0,
        onProgress: ({ part, done, total }) => parts.add(`${part} ${done}/${total}`),
      });
      noTensorLeft(before);
      assert.ok(parts.has('images 24/24') && parts.has('queries 6/6'));
      for (const protocol of PROTOCOLS) {
        const expected = scores[protocol];
        near(result[protocol].map, 100 * expected.map, 1e-6, `${protocol} map`);
        for (const [i, k] of (['1', '5', '10'] as const).entries()) {
          near(result[protocol].mp[k], 100 * expected.mp[i]!, 1e-6, `${protocol} mP@${k}`);
        }
      }
    });

    it(`has its similarities${multiscale ? ' over three scales' : ''} to 1e-5`, async () => {
      const { images, queries } = readRevisited(folder, 'roxford5k');
      const options = { dataPath: folder, imsize: fixture.imsize, multiscale, numWorkers: 0 };
      const bank = await features(model, images, 'images', options);
      const asked = await features(model, queries, 'queries', options);
      const { similarity } = rankBySimilarity(bank.rows, asked.rows, bank.width, 'cpu');
      const expected = fixture.runs.find((run) => run.multiscale === multiscale)!.similarity;
      assert.equal(similarity.length, expected.length);
      similarity.forEach((value, i) => near(value, expected[i]!, 1e-5, `similarity ${i}`));
    });
  }

  it('looks at the box of a query alone when asked to', async () => {
    const options = { dataPath: folder, imsize: fixture.imsize, numWorkers: 0 };
    const whole = await evaluateRetrieval(model, options);
    const cropped = await evaluateRetrieval(model, { ...options, cropQueries: true });
    assert.equal(cropped.cropQueries, true);
    assert.notDeepEqual(cropped.medium, whole.medium);
  });

  it('names every file that is missing, and every one that is damaged', async () => {
    const jpg = path.join(folder, 'roxford5k', 'jpg');
    const moved = ['query_000001', 'query_000004', 'picture_000003'];
    const saved = moved.map((name) => readFileSync(path.join(jpg, `${name}.jpg`)));
    const evaluate = () => evaluateRetrieval(model, { dataPath: folder, imsize: 32, numWorkers: 0 });
    try {
      for (const name of moved) rmSync(path.join(jpg, `${name}.jpg`));
      await assert.rejects(evaluate(), (error) => {
        assert.ok(error instanceof DataError);
        assert.match(error.message, /names 3 files that are missing/);
        for (const name of moved) assert.match(error.message, new RegExp(`${name}\\.jpg`));
        return true;
      });
      for (const name of moved) writeFileSync(path.join(jpg, `${name}.jpg`), 'no image');
      await assert.rejects(evaluate(), /2 queries can't be read:\n.*query_000001.*\n.*query_000004/);
    } finally {
      moved.forEach((name, i) => writeFileSync(path.join(jpg, `${name}.jpg`), saved[i]!));
    }
  });

  it('refuses a ground truth that is none, and sizes below the patches', async () => {
    const other = path.join(folder, 'other');
    mkdirSync(other);
    const write = (text: string) => writeFileSync(path.join(other, 'gnd_other.pkl'), text);
    const read = () => readRevisited(folder, 'other');
    assert.throws(read, /gnd_other\.pkl can't be read/);
    // a pickle of protocol 0: {'imlist': ['a'], 'qimlist': ['q'], 'gnd': [{'bbx': [1, 2], 'easy': [1], 'hard': []}]}
    write(
      "(dS'imlist'\n(lS'a'\nasS'qimlist'\n(lS'q'\nasS'gnd'\n" +
        "(l(dS'bbx'\n(lI1\naI2\nasS'easy'\n(lI1\nasS'hard'\n(lsas.",
    );
    assert.throws(read, (error) => {
      assert.ok(error instanceof DataError);
      assert.match(error.message, /easy has 1, but there are 1 images/);
      assert.match(error.message, /junk is not a list of numbers/);
      assert.match(error.message, /bbx is not a box of four numbers/);
      return true;
    });
    write('N.');
    assert.throws(read, /imlist is not a list of names\n.*qimlist.*\n.*gnd is not a list/);
    write("cos\nsystem\n(S'echo no'\ntR.");
    assert.throws(read, CheckpointError);
    await assert.rejects(evaluateRetrieval(model, { dataPath: folder, imsize: 4 }), ConfigError);
    await assert.rejects(evaluateRetrieval(model, { dataPath: folder, imsize: 12, multiscale: true }), /16/);
  });
});

const shared =
  process.env['DINO_TEST_DATA'] ?? fileURLToPath(new URL('../../../shared/data', import.meta.url));
const revisited = path.join(shared, 'revisited');
describe("Revisited's own ground truth", { skip: existsSync(revisited) ? false : `no ${revisited}` }, () => {
  for (const [dataset, images] of [
    ['roxford5k', 4993],
    ['rparis6k', 6322],
  ] as const) {
    it(`${dataset} is read; its absent images are counted`, () => {
      const files = images + 70;
      assert.throws(
        () => readRevisited(revisited, dataset),
        (error) =>
          error instanceof DataError &&
          error.message.includes(`names ${files} files that are missing`) &&
          error.message.includes(`and ${files - 100} more`),
      );
    });
  }
});
