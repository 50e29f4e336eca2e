/** Model cards of runs and files: what Hugging Face reads, what a person reads, and what must not be in them. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse } from 'yaml';
import { TINY, writeOfficialWeights, writeTinyRun } from '../testing/saved-run.js';
import { newestCheckpoint } from '../run/checkpoint-files.js';
import { CARD_FORMATS } from './card-sizes.js';
import { modelCard, writeModelCard } from './model-card.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-card-'));
after(() => rmSync(folder, { recursive: true }));
const run = path.join(folder, 'secret-project', 'run');
const configFile = path.join(run, 'config.json');

/** The metadata and the text of a card. */
function read(card: string): { data: Record<string, unknown>; text: string } {
  const [, yaml = '', text = ''] = /^---\n([^]*?)\n---\n([^]*)$/.exec(card) ?? [];
  return { data: parse(yaml) as Record<string, unknown>, text };
}

const change = (settings: object, more: object = {}): void => {
  const config = JSON.parse(readFileSync(configFile, 'utf8')) as object;
  writeFileSync(configFile, JSON.stringify({ ...config, ...more, settings: { ...TINY, ...settings } }));
};

const keep = (name: string, value: unknown): void => {
  mkdirSync(path.join(run, 'evaluations'), { recursive: true });
  writeFileSync(path.join(run, 'evaluations', `${name}.json`), JSON.stringify(value));
};

before(() => {
  writeTinyRun(run);
  change({}, { images: '/home/me/secret-photos' });
  const skipped = '{"path":"/home/me/secret.png","reason":"damaged"}\n';
  writeFileSync(path.join(run, 'skipped.jsonl'), skipped.repeat(2)); // in two sessions
  const lines = Array.from({ length: 40 }, (_, i) => ({
    step: i,
    epoch: 0,
    loss: 3 - i / 20,
    teacherEntropy: 2,
  }));
  const judge = {
    step: 11,
    epoch: 0,
    judge: {
      measure: 'neighbours',
      score: 0.75,
      untrained: 0.25,
      pixels: 0.5,
      measures: {
        neighbours: 0.75,
        otherView: 0.7,
        otherViewRank: 0.8,
        rankMe: 9.5,
        lidar: null,
        alphaReq: 1.25,
      },
      images: 512,
      shared: '4'.repeat(512),
      isBest: true,
      stalled: false,
      bestStep: 11,
      fallsShortOf: null,
    },
  };
  writeFileSync(
    path.join(run, 'metrics.jsonl'),
    `${[...lines, judge].map((line) => JSON.stringify(line)).join('\n')}\n`,
  );
});

describe('the card of a run', () => {
  it('has counts, settings, the curve up to this checkpoint, and quality without labels', () => {
    const { data, text } = read(modelCard(run));
    assert.equal(data['library_name'], 'dino-ts');
    assert.equal(data['pipeline_tag'], 'image-feature-extraction');
    assert.ok((data['tags'] as string[]).includes('self-supervised-learning'));
    assert.equal('license' in data, false); // of weights of one's own: to be chosen
    assert.match(
      text,
      /40 images without labels \(1 of them could not be read\); these are the weights after 12 steps/,
    );
    assert.match(text, /trained from random weights/);
    assert.match(text, /\| `batchSize` \| 64 \|/);
    assert.match(text, /\| 12 \| 2\.4000 \| 2\.000 \|/);
    assert.doesNotMatch(text, /\| 39 \|/); // later than the checkpoint
    assert.match(text, /\| neighbours \| 75\.0% \|/);
    assert.match(text, /untrained network has 25\.0%, raw pixels 50\.0%/);
  });

  it('has the results of evaluations, for people and for the hub', () => {
    keep('knn', { evaluation: 'knn', train: '/home/me/secret-labels', top1: { 10: 41.65, 20: 43.75 } });
    keep('linear', { evaluation: 'linear', top1: 50.5, classes: 10 });
    const { data, text } = read(modelCard(run));
    assert.match(text, /\| k-NN, k = 20 \| 43\.8% \|/);
    assert.match(text, /\| linear classifier, 10 classes \| 50\.5% \|/);
    const [model] = data['model-index'] as { results: { task: { type: string }; metrics: unknown[] }[] }[];
    assert.equal(model!.results[0]!.task.type, 'image-classification');
    assert.deepEqual(model!.results[0]!.metrics, [
      { type: 'accuracy', name: 'k-NN top-1, k = 10', value: 41.65 },
      { type: 'accuracy', name: 'k-NN top-1, k = 20', value: 43.75 },
      { type: 'accuracy', name: 'linear top-1', value: 50.5 },
    ]);
  });

  it('has no results of other weights of the run, and says so', () => {
    const ofStep = (folder: string, step: number, kind = 'teacher') => ({
      ...{ weights: `checkpoints/${folder}/${kind}.safetensors`, step, top1: { 10: 77.25 } },
    });
    for (const [value, isShown] of [
      [ofStep('step-00000012', 12), true],
      [ofStep('best-00000012', 12), true], // a copy
      [ofStep('step-00000005', 5), false],
      [ofStep('step-00000012', 12, 'student'), false],
    ] as const) {
      keep('knn', value);
      const { text, data } = read(modelCard(run));
      assert.equal(/77\.3%/.test(text), isShown, JSON.stringify(value));
      assert.equal(JSON.stringify(data).includes('k-NN'), isShown);
      assert.equal(/are of other weights and not shown here: .*knn/.test(text), !isShown);
    }
  });

  it('names no image, no folder and nothing that a stranger wrote', () => {
    keep('knn', { top1: { '](https://evil.example)': 5, 10: 'x' } });
    change(
      {
        init: '/home/me/secret-init/weights.pth',
        knnTrain: '/home/me/secret-labels',
        watchImages: ['/home/me/secret.png'],
      },
      { version: '<script>evil</script>' },
    );
    for (const format of CARD_FORMATS) {
      const card = modelCard(run, { format });
      assert.doesNotMatch(card, /secret|\/home|evil|<script/);
      assert.match(card, /licence is not known here/);
    }
  });

  it('names the official weights that it began from, and their licence', () => {
    change({ init: '/downloads/dino_deitsmall16_pretrain.pth' });
    const dino = read(modelCard(run));
    assert.equal(dino.data['license'], 'apache-2.0');
    assert.match(
      dino.text,
      /\[dino_vits16\]\(https:\/\/github\.com\/facebookresearch\/dino\) under the Apache-2\.0 licence/,
    );
    change({ init: '/downloads/dinov3_vits16_pretrain_lvd1689m-08c60483.pth' });
    const v3 = read(modelCard(run));
    assert.deepEqual([v3.data['license'], v3.data['license_name']], ['other', 'dinov3-license']);
    assert.match(v3.text, /DINOv3 License.*also binds what is made from them/);
    change({});
  });

  it('follows the weights through runs that began from other runs', () => {
    const chain = ['first', 'second', 'third'].map((name) => path.join(folder, 'chain', name));
    const write = (i: number, init: string | undefined): void => {
      writeTinyRun(chain[i]!);
      const file = path.join(chain[i]!, 'config.json');
      const config = JSON.parse(readFileSync(file, 'utf8')) as { settings: object };
      writeFileSync(file, JSON.stringify({ ...config, settings: { ...config.settings, init } }));
    };
    write(0, '/downloads/dino_deitsmall16_pretrain.pth');
    write(1, chain[0]);
    write(2, newestCheckpoint(chain[1]!)!);
    const { data, text } = read(modelCard(chain[2]!));
    assert.equal(data['license'], 'apache-2.0');
    assert.match(text, /began from the official weights \[dino_vits16\]/);
    assert.doesNotMatch(text, /chain|second/);
    write(0, undefined);
    const own = read(modelCard(chain[2]!));
    assert.equal('license' in own.data, false);
    assert.match(own.text, /went on from the weights of another training, which began from random ones/);
    for (const begun of [chain[2], path.join(folder, 'gone')]) {
      write(0, begun); // each other's, or no longer there
      assert.match(modelCard(chain[2]!), /licence is not known here/);
    }
  });

  it('does not read through a link in the run', () => {
    const outside = path.join(folder, 'outside.json');
    writeFileSync(outside, JSON.stringify({ top1: { 10: 12.5 } }));
    rmSync(path.join(run, 'evaluations', 'knn.json'));
    symlinkSync(outside, path.join(run, 'evaluations', 'knn.json'));
    assert.doesNotMatch(modelCard(run), /12\.5/);
    rmSync(path.join(run, 'evaluations', 'knn.json'));
  });
});

it('says how to load each format', () => {
  const has = {
    run: /loadModel\('run'\)/,
    safetensors: /load_file\('a\.st'\)/,
    pth: /torch\.load\('a\.st', weights_only=True\)/,
    onnx: /InferenceSession\('a\.st'\)/,
    transformers: /pipeline\('image-feature-extraction'/,
  };
  for (const format of CARD_FORMATS)
    assert.match(modelCard(run, { format, ...(format === 'run' ? {} : { file: 'a.st' }) }), has[format]);
  assert.match(modelCard(run, { format: 'pth', file: "a'); evil('.pth" }), /torch\.load\('model\.pth'/);
  assert.equal(read(modelCard(run, { format: 'transformers' })).data['library_name'], 'transformers.js');
});

it('describes a lone file by what it says, official ones with their licence', () => {
  const file = path.join(folder, 'dino_deitsmall16_pretrain.pth');
  writeOfficialWeights(file, 'vit_tiny');
  const { data, text } = read(modelCard(file, { numHeads: 3 }));
  assert.equal(data['license'], 'apache-2.0');
  assert.match(text, /does not say what it was trained on/);
});

it('replaces an earlier card, and leaves a README of your own', () => {
  const place = path.join(folder, 'new', 'place');
  assert.equal(writeModelCard(place, modelCard(run)), path.join(place, 'README.md'));
  assert.notEqual(writeModelCard(place, modelCard(run, { format: 'onnx' })), null);
  assert.match(readFileSync(path.join(place, 'README.md'), 'utf8'), /library_name: onnx/);
  writeFileSync(path.join(place, 'README.md'), '# Mine\n');
  assert.equal(writeModelCard(place, modelCard(run)), null);
  assert.equal(readFileSync(path.join(place, 'README.md'), 'utf8'), '# Mine\n');
});

it('keeps a card that you changed anywhere, and replaces one whose line ends alone differ', () => {
  const place = path.join(folder, 'edited');
  const file = path.join(place, 'README.md');
  writeModelCard(place, modelCard(run));
  const written = readFileSync(file, 'utf8');
  assert.match(written, /<!-- model card by dino-ts \([0-9a-f]+\): .* unless you change something in it -->/);
  for (const changed of [
    written.replace('---\n', '---\nlicense: mit\n'),
    written.replace('## Training', 'A paragraph of my own.\n\n## Training'),
    `${written}More.\n`,
    written.replace(/^<!-- .*$/m, ''),
  ]) {
    assert.notEqual(changed, written);
    writeFileSync(file, changed);
    assert.equal(writeModelCard(place, modelCard(run, { format: 'onnx' })), null);
    assert.equal(readFileSync(file, 'utf8'), changed);
  }
  writeFileSync(file, written.replaceAll('\n', '\r\n')); // as git may check it out
  assert.equal(writeModelCard(place, modelCard(run, { format: 'onnx' })), file);
});
