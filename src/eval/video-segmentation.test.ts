import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { encode } from 'fast-png';
import { readLabelImage, writeLabelImage } from './indexed-png.js';
import { resizeLinear, resizeNearest } from './resample.js';
import { ConfigError, DataError } from '../errors.js';
import { hashBytes } from '../testing/hash-fill.js';
import { liveTensors } from '../torch/index.js';
import { hashModel, type NetworkSize } from '../testing/hash-model.js';
import {
  contourAccuracy,
  regionSimilarity,
  sequenceStatistics,
  type SequenceStatistics,
} from './davis-measures.js';
import { evaluateVideoSegmentation, objectLabels, propagationSize } from './video-segmentation.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

const fixtures = fileURLToPath(new URL('../../test/fixtures/video/', import.meta.url));
const davisMini = path.join(process.env['DINO_TEST_DATA'] ?? '../shared/data', 'davis-mini');
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-video-'));
after(() => rmSync(folder, { recursive: true }));

/** With the shorter side of the frames that it sees. */
interface SizedNetwork extends NetworkSize {
  size: number;
}
interface Scores {
  J: SequenceStatistics;
  F: SequenceStatistics;
}
const fixture = JSON.parse(readFileSync(path.join(fixtures, 'video.json'), 'utf8')) as {
  small: SizedNetwork;
  mini: SizedNetwork;
  scores: Record<'two' | 'tall', Scores[]> & { all: Scores };
  miniFrames: Record<string, number>;
  miniScores: Record<string, Scores[]>;
  resize: { from: [number, number]; to: [number, number]; linear: number[]; nearest: number[] }[];
};

/** Share of the pixels that are equal, over all files of the expected folder. */
async function agreement(expected: string, actual: string, names = readdirSync(expected)): Promise<number> {
  let equal = 0;
  let total = 0;
  for (const name of names) {
    const a = await readLabelImage(path.join(expected, name));
    const b = await readLabelImage(path.join(actual, name));
    assert.deepEqual([b.width, b.height], [a.width, a.height]);
    a.labels.forEach((label, i) => (equal += label === b.labels[i] ? 1 : 0));
    total += a.labels.length;
  }
  return equal / total;
}

function assertScores(actual: Scores, expected: Scores, tolerance: number): void {
  for (const measure of ['J', 'F'] as const) {
    for (const key of ['mean', 'recall', 'decay'] as const) {
      const difference = Math.abs(actual[measure][key] - expected[measure][key]);
      assert.ok(
        difference <= tolerance,
        `${measure} ${key}: ${actual[measure][key]}, expected ${expected[measure][key]}`,
      );
    }
  }
}

describe('scaling', () => {
  it("equals OpenCV's bilinear and Pillow's nearest to the bit", () => {
    for (const [i, { from, to, linear, nearest }] of fixture.resize.entries()) {
      const source = { height: from[0], width: from[1] };
      const target = { height: to[0], width: to[1] };
      const rgb = hashBytes(`resize.${i}`, [from[0], from[1], 3]);
      assert.deepEqual(
        [...resizeLinear(rgb, source, target)],
        linear,
        `linear ${from.join()} to ${to.join()}`,
      );
      const red = rgb.filter((_, k) => k % 3 === 0);
      assert.deepEqual([...resizeNearest(red, source, target)], nearest, `nearest ${from.join()}`);
    }
  });

  it('brings 854 x 480 to 832 x 480, as the reference, and keeps a square square', () => {
    assert.deepEqual(propagationSize({ width: 854, height: 480 }, 480), { width: 832, height: 480 });
    assert.deepEqual(propagationSize({ width: 480, height: 854 }, 480), { width: 480, height: 832 });
    assert.deepEqual(propagationSize({ width: 500, height: 500 }, 480), { width: 448, height: 480 });
  });
});

describe('indexed PNGs', () => {
  it('give indices, not colours, at every depth', async () => {
    const file = path.join(folder, 'indexed.png');
    const labels = Uint8Array.from({ length: 35 }, (_, i) => (i * 37) % 256);
    writeLabelImage(file, { width: 7, height: 5, labels });
    assert.deepEqual(await readLabelImage(file), { width: 7, height: 5, labels });
    // two bits a pixel, rows padded to a byte: 3 0 2 1 2 | 1 1 0 3 0
    const packed = Uint8Array.of(0b11001001, 0b10000000, 0b01010011, 0);
    const palette = [0, 1, 2, 3].map((n): [number, number, number] => [n * 60, 0, 0]);
    writeFileSync(file, encode({ width: 5, height: 2, data: packed, channels: 1, depth: 2, palette }));
    assert.deepEqual([...(await readLabelImage(file)).labels], [3, 0, 2, 1, 2, 1, 1, 0, 3, 0]);
  });

  it('refuse what is none', async () => {
    const file = path.join(folder, 'bad.png');
    writeFileSync(file, encode({ width: 2, height: 1, data: Uint8Array.of(1, 1, 1, 7, 7, 7), channels: 3 }));
    assert.deepEqual([...(await readLabelImage(file)).labels], [1, 7], 'gray, saved as RGB');
    writeFileSync(file, encode({ width: 2, height: 1, data: Uint8Array.of(1, 2, 1, 7, 7, 7), channels: 3 }));
    await assert.rejects(readLabelImage(file), /bad\.png: 3 channels of 8 bits; expected indices/);
    writeFileSync(file, 'hello');
    await assert.rejects(readLabelImage(file), /not a PNG/);
    writeFileSync(
      file,
      encode({ width: 9, height: 9, data: new Uint8Array(81), channels: 1 }).subarray(0, 50),
    );
    await assert.rejects(readLabelImage(file), DataError);
    await assert.rejects(readLabelImage(path.join(folder, 'absent.png')), /no such file/);
  });
});

describe('J and F', () => {
  const square = (left: number): Uint8Array =>
    Uint8Array.from({ length: 400 }, (_, i) => {
      const [x, y] = [i % 20, Math.floor(i / 20)];
      return x >= left && x < left + 8 && y >= 6 && y < 14 ? 1 : 0;
    });
  it('are 1 for equal and for empty masks, and by hand for shifted squares', () => {
    const empty = new Uint8Array(400);
    assert.equal(regionSimilarity(square(4), square(4)), 1);
    assert.equal(contourAccuracy(square(4), square(4), 20, 20), 1);
    assert.equal(regionSimilarity(empty, empty), 1);
    assert.equal(contourAccuracy(empty, empty, 20, 20), 1);
    assert.equal(contourAccuracy(square(4), empty, 20, 20), 0);
    // two columns of eight apart: 6 * 8 shared of 10 * 8
    assert.equal(regionSimilarity(square(4), square(6)), 48 / 80);
    // tolerance of one pixel
    assert.equal(contourAccuracy(square(4), square(5), 20, 20), 1);
    assert.ok(contourAccuracy(square(4), square(6), 20, 20) < 1);
  });
  it('lose from the first quarter to the last', () => {
    const { mean, recall, decay } = sequenceStatistics([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]);
    assert.ok(Math.abs(mean - 0.6) < 1e-12);
    assert.equal(recall, 5 / 9);
    assert.ok(Math.abs(decay - (0.9 - 0.3)) < 1e-12);
  });
  it('count 255 as the object when it is the only label', () => {
    assert.deepEqual(objectLabels(Uint8Array.of(0, 255, 0)), [255]);
    assert.deepEqual(objectLabels(Uint8Array.of(0, 2, 255)), [1, 2]);
    assert.deepEqual(objectLabels(Uint8Array.of(0, 0)), []);
  });
});

describe('evaluateVideoSegmentation', () => {
  it("gives the reference's masks and the package's J and F", async () => {
    using model = hashModel(fixture.small);
    const output = path.join(folder, 'masks');
    const before = liveTensors();
    const result = await evaluateVideoSegmentation(model, {
      ...{ data: path.join(fixtures, 'davis'), output, size: fixture.small.size, sequences: ['two', 'tall'] },
    });
    noTensorLeft(before);
    for (const { name, objects, frames, folder: written } of result.sequences) {
      assert.equal(written, path.join(output, name));
      assert.equal(readdirSync(written).length, frames);
      const equal = await agreement(path.join(fixtures, 'masks', name), written);
      assert.ok(equal >= 0.999, `${name}: ${equal} of the pixels`);
      const expected = fixture.scores[name as 'two'];
      assert.equal(objects!.length, expected.length);
      objects!.forEach((object, i) => assertScores(object, expected[i]!, 1e-3));
    }
    assertScores(result.scores!, fixture.scores.all, 1e-3);
    assert.match(
      readFileSync(path.join(output, 'per-sequence_results-val.csv'), 'utf8'),
      /^Sequence,J-Mean,F-Mean\ntwo_1,0\.878,0\.852\n/,
    );
    // a mask keeps its palette
    const { palette } = (await import('fast-png')).decode(
      readFileSync(path.join(output, 'two', '00003.png')),
    );
    assert.deepEqual(palette!.slice(0, 3), [[0, 0, 0], [128, 0, 0], [0, 128, 0]]); // prettier-ignore
    assert.equal(palette!.length, 256);
  });

  it('follows nLastFrames and sizeMaskNeighborhood', async () => {
    using model = hashModel(fixture.small);
    const output = path.join(folder, 'near');
    await evaluateVideoSegmentation(model, {
      ...{ data: path.join(fixtures, 'davis'), output, size: fixture.small.size, sequences: ['two'] },
      ...{ nLastFrames: 2, sizeMaskNeighborhood: 3, measure: false },
    });
    const equal = await agreement(path.join(fixtures, 'masks-near', 'two'), path.join(output, 'two'));
    assert.ok(equal >= 0.999, `${equal} of the pixels`);
    const far = await agreement(path.join(fixtures, 'masks', 'two'), path.join(output, 'two'));
    assert.ok(far < 0.999, 'the two fixtures differ');
  });

  it('agrees on DAVIS itself', { skip: !existsSync(davisMini) && `no ${davisMini}` }, async (t) => {
    const data = path.join(folder, 'mini');
    for (const [name, count] of Object.entries(fixture.miniFrames)) {
      for (const [kind, ending] of [
        ['JPEGImages', 'jpg'],
        ['Annotations', 'png'],
      ] as const) {
        // prettier-ignore
        const target = path.join(data, kind, '480p', name);
        mkdirSync(target, { recursive: true });
        for (let i = 0; i < count; i++) {
          const file = `${String(i).padStart(5, '0')}.${ending}`;
          cpSync(path.join(davisMini, kind, '480p', name, file), path.join(target, file));
        }
      }
    }
    using model = hashModel(fixture.mini);
    const output = path.join(folder, 'mini-masks');
    const result = await evaluateVideoSegmentation(model, { data, output });
    assert.equal(result.sequences.length, 3);
    for (const { name, objects } of result.sequences) {
      const equal = await agreement(path.join(fixtures, 'davis-mini', name), path.join(output, name));
      t.diagnostic(`${name}: ${(100 * equal).toFixed(4)}% of the pixels equal`);
      assert.ok(equal >= 0.999, `${name}: ${equal} of the pixels`);
      assertScores(objects![0]!, fixture.miniScores[name]![0]!, 1e-3);
    }
  });

  /** A copy of the fixture's videos that a test may damage. */
  function copy(name: string): {
    data: string;
    file: (kind: string, sequence: string, frame: string) => string;
  } {
    const data = path.join(folder, name);
    cpSync(path.join(fixtures, 'davis'), data, { recursive: true });
    return { data, file: (kind, sequence, frame) => path.join(data, kind, '480p', sequence, frame) };
  }

  it('names everything that is wrong with a data set before it starts', async () => {
    using model = hashModel(fixture.small);
    const { data, file } = copy('damaged');
    rmSync(file('Annotations', 'two', '00000.png'));
    writeLabelImage(file('Annotations', 'tall', '00002.png'), {
      width: 3,
      height: 2,
      labels: new Uint8Array(6),
    });
    mkdirSync(file('JPEGImages', 'void', ''), { recursive: true });
    const output = path.join(folder, 'never');
    const size = fixture.small.size;
    await assert.rejects(evaluateVideoSegmentation(model, { data, output, size }), (error: Error) => {
      assert.ok(error instanceof DataError);
      assert.match(error.message, /two: no mask for the first frame, expected .*00000\.png/);
      assert.match(
        error.message,
        /tall: 1 masks differ in size from the first one's 96 x 130: 00002\.png \(3 x 2\)/,
      );
      assert.match(error.message, /void: no frames/);
      return true;
    });
    assert.equal(existsSync(output), false);
    const kept = path.join(folder, 'kept');
    cpSync(path.join(fixtures, 'davis', 'Annotations', '480p'), kept, { recursive: true });
    await assert.rejects(
      evaluateVideoSegmentation(model, { data: path.join(fixtures, 'davis'), output: kept }),
      /kept.\w+ is not empty: give a new folder, .*kept-2 is not taken/,
    );
    await assert.rejects(evaluateVideoSegmentation(model, { data: folder, output }), /is not DAVIS/);
    await assert.rejects(
      evaluateVideoSegmentation(model, { data, output, sequences: ['absent'] }),
      /absent: no folder/,
    );
    await assert.rejects(
      evaluateVideoSegmentation(model, { data, output, topk: 0, nLastFrames: -1 }),
      (error) =>
        error instanceof ConfigError && error.problems.length === 2 && /topk is 0/.test(error.message),
    );
    await assert.rejects(
      evaluateVideoSegmentation(model, { data, output, size: 100 }),
      /size 100; expected a multiple of 8/,
    );
  });

  it('takes one frame, missing later masks, and a first mask of another size than the frames', async () => {
    using model = hashModel(fixture.small);
    const { data, file } = copy('odd');
    for (let i = 1; i < 6; i++) rmSync(file('JPEGImages', 'two', `0000${i}.jpg`));
    rmSync(file('Annotations', 'tall', '00002.png'));
    const warnings: string[] = [];
    const output = path.join(folder, 'odd-masks');
    const options = {
      data,
      output,
      size: fixture.small.size,
      onWarning: (text: string) => warnings.push(text),
    };
    const result = await evaluateVideoSegmentation(model, options);
    assert.equal(result.scores, null);
    assert.deepEqual(readdirSync(path.join(output, 'two')), ['00000.png']);
    assert.equal(readdirSync(path.join(output, 'tall')).length, 4);
    assert.equal(warnings.length, 2);
    assert.match(warnings.join('\n'), /tall: 1 of 4 frames have no mask/);
    assert.match(warnings.join('\n'), /two: 1 frames/);
    cpSync(
      path.join(fixtures, 'davis/JPEGImages/480p/tall/00000.jpg'),
      file('JPEGImages', 'two', '00001.jpg'),
    );
    await assert.rejects(
      evaluateVideoSegmentation(model, { ...options, output: path.join(folder, 'odd-again') }),
      /two: .*00001\.jpg has 96 x 130 pixels; expected 150 x 101/,
    );
  });

  it('stops when asked', async () => {
    using model = hashModel(fixture.small);
    const controller = new AbortController();
    const options = { data: path.join(fixtures, 'davis'), output: path.join(folder, 'stopped'), size: 128 };
    const onProgress = ({ done }: { done: number }) => done === 2 && controller.abort(new Error('enough'));
    await assert.rejects(
      evaluateVideoSegmentation(model, { ...options, signal: controller.signal, onProgress }),
      /enough/,
    );
  });
});
