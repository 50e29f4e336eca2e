/** Training from shards equals training from the folder, to the bit; damaged parts are listed. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { writeShards } from '../data/index.js';
import { evaluateKnn } from '../eval/knn.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { loadModel } from '../model.js';
import { newestCheckpoint } from '../run/checkpoint-files.js';
import type { TrainEvent } from './events.js';
import { readLines } from '../files/json-lines.js';
import { readRunConfig, skippedPath } from '../run/run-folder.js';
import { train } from './train.js';

let folder = '';
const at = (name: string) => path.join(folder, name);

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'dino-train-shards-'));
  await makeImageFolder(at('images'), { classes: 2, perClass: 9 });
  const { shards } = await writeShards(at('images'), { output: at('shards'), shardSize: 20_000 });
  assert.ok(shards.length > 2);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Hashes of the newest checkpoint's files. */
function weights(run: string): string[] {
  const newest = newestCheckpoint(run) ?? assert.fail('no checkpoint');
  return readdirSync(newest)
    .sort()
    .map(
      (file) =>
        `${file} ${createHash('sha256')
          .update(readFileSync(path.join(newest, file)))
          .digest('hex')}`,
    );
}

async function trainUntil(images: string, run: string, step: number): Promise<void> {
  const controller = new AbortController();
  await train({
    ...{ images, output: at(run), settings: TINY_SETTINGS, signal: controller.signal },
    onEvent: (event) => {
      if (event.type === 'step' && event.step === step) controller.abort();
    },
  });
}

test('training on shards gives the weights of training on the folder, also when stopped within an epoch or started on the folder', async () => {
  await trainUntil(at('images'), 'whole', Infinity);
  const expected = weights(at('whole'));
  await trainUntil(at('shards'), 'from-shards', 4);
  await train({ output: at('from-shards'), resume: true });
  assert.deepEqual(weights(at('from-shards')), expected);
  assert.equal(readRunConfig(at('from-shards')).images, at('shards'));
  await trainUntil(at('images'), 'moved', 5);
  await train({ output: at('moved'), resume: true, images: `${at('shards')}/shard-*.tar` });
  assert.deepEqual(weights(at('moved')), expected);
});

test('k-NN on shards equals k-NN on folders', async () => {
  const model = loadModel(at('whole'));
  const scores = async (images: string) => evaluateKnn(model, { train: images, val: images, k: [1, 3] });
  const [shards, folders] = [await scores(at('shards')), await scores(at('images'))];
  assert.deepEqual(shards, folders);
  assert.equal(shards.classes, 2);
});

test('with a truncated shard it trains on the rest, warns, and skipped.jsonl names the place', async () => {
  await writeShards(at('images'), { output: at('cut'), shardSize: 20_000 });
  const first = path.join(at('cut'), 'shard-000000.tar');
  truncateSync(first, statSync(first).size - 2000);
  const warnings: string[] = [];
  const settings = { ...TINY_SETTINGS, epochs: 1, warmupTeacherTempEpochs: 0 };
  const onEvent = (event: TrainEvent) => {
    if (event.type === 'warning') warnings.push(event.message);
  };
  const result = await train({ images: at('cut'), output: at('cut-run'), settings, onEvent });
  assert.equal(result.skipped, 0);
  const lines = readLines(skippedPath(at('cut-run')));
  assert.equal(lines.length, 1);
  assert.equal(lines[0]!['path'], first);
  assert.ok((lines[0]!['offset'] as number) > 0);
  assert.match(String(lines[0]!['reason']), /bytes are announced, \d+ are there: the archive is cut off/);
  assert.match(warnings[0]!, /shard-000000.tar at byte \d+: /);
  const { skipped, paths } = await loadModel(at('cut-run')).embed(at('cut'));
  assert.deepEqual([skipped.length, skipped[0]!.path], [1, first]);
  assert.match(skipped[0]!.reason, /^at byte \d+: /);
  assert.ok(paths[0]!.startsWith(`${first}::`));
});
