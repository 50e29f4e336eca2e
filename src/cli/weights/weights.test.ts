/** Commands on weights as people have them: what a file leaves open is said once, by every command, and can be given. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
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
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { writeColourFolders, writeTinyRun } from '../../testing/saved-run.js';
import { settingsOfInit } from '../../train/init.js';
import { describeWeights } from '../../weights/describe.js';
import { exportWeights } from '../../weights/export-weights.js';
import { readSafetensors, writeSafetensors } from '../../weights/safetensors.js';
import { type AnyCommand, readLine, runCommand } from '../command.js';
import { formatDescription } from './describe.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-weights-'));
const at = (...names: string[]): string => path.join(folder, ...names);
const run = at('run');
/** The run's teacher, in a file that doesn't say that it has three heads. */
const lone = at('lone.safetensors');
const images = at('images');
before(async () => {
  writeTinyRun(run).dispose();
  const { tensors } = readSafetensors(path.join(run, 'checkpoints', 'step-00000012', 'teacher.safetensors'));
  writeSafetensors(lone, tensors);
  await writeColourFolders(images, 1);
});
after(() => rmSync(folder, { recursive: true }));

/** Runs a command in this process, which saves starting one. @returns What it wrote to stderr. */
async function dino(name: string, ...args: string[]): Promise<string> {
  const { command } = (await import(`../${name}.js`)) as { command: AnyCommand };
  const write = process.stderr.write.bind(process.stderr);
  let written = '';
  process.stderr.write = (text: string | Uint8Array) => {
    written += String(text);
    return true;
  };
  try {
    await runCommand(command, name, '', args);
  } catch (error) {
    throw Object.assign(error as Error, { written });
  } finally {
    process.stderr.write = write;
  }
  return written;
}

const GUESS = /warning: .*doesn't say how many attention heads .*--num-heads/g;
const EMBED = ['--num-workers', '0', '--device', 'cpu'];
const WHERE: readonly (readonly [command: string, ...args: string[]])[] = [
  ['weights/info', lone],
  ['eval/embed', lone, images, '--output', at('f.npy'), ...EMBED],
  ['explain/attention', lone, at('images', 'red', 'red 0.png'), '--output', at('maps'), '--device', 'cpu'],
  ['explore/index-images', lone, images, '--output', at('index'), ...EMBED],
  ['eval/knn', lone, '--train', images, '--val', images, '--nb-knn', '1', ...EMBED],
  ...['pth', 'safetensors', 'onnx', 'transformers', 'web'].map(
    (format) => ['export/export', lone, '--format', format, '--output', at(`out-${format}`)] as const,
  ),
];

describe('heads that the file does not say', () => {
  for (const [command, ...args] of WHERE) {
    it(`${[command, ...args.slice(1, 3)].join(' ')}: one warning, and none with --num-heads`, async () => {
      const guessed = await dino(command, ...args);
      assert.equal(guessed.match(GUESS)?.length, 1, guessed);
      const told = await dino(command, ...args, '--num-heads', '3');
      assert.doesNotMatch(told, GUESS);
    });
  }

  it('can be given to every command that takes weights', async () => {
    for (const name of [
      ...['weights/info', 'eval/embed', 'explain/attention', 'explain/video', 'explore/index-images', 'export/export', 'eval/knn', 'eval/linear', 'eval/retrieval'],
      ...['eval/copy-detection', 'eval/video-segmentation', 'eval/attention-segmentation'],
    ]) {
      const { command } = (await import(`../${name}.js`)) as { command: AnyCommand };
      const { problems, options } = await readLine(command, name, ['x', 'y', '--num-heads', '4', '--checkpoint-key', 'ema']);
      assert.deepEqual(problems.filter((problem) => /flag/.test(problem)), [], name);
      assert.deepEqual([options['numHeads'], options['checkpointKey']], [4, 'ema'], name);
    } // prettier-ignore
    await assert.rejects(
      dino('weights/info', lone, '--num-heads', 'many'),
      /--num-heads is many; expected a whole number/,
    );
  });

  it('are those of the run in what is exported: embed gives the same features', async () => {
    const embedded = async (weights: string): Promise<Buffer> => {
      const written = await dino('eval/embed', weights, images, '--output', at('same.npy'), ...EMBED);
      assert.doesNotMatch(written, /warning/);
      return readFileSync(at('same.npy'));
    };
    const expected = await embedded(run);
    for (const format of ['safetensors', 'pth']) {
      const output = at(`known.${format}`);
      await dino('export/export', run, '--format', format, '--output', output);
      assert.deepEqual(await embedded(output), expected, format);
    }
  });

  it('are settled for train --init, with a warning where they are guessed', () => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [
        ...[bin, 'train', images, '--init', lone, '--output', at('trained'), '--preset', 'paper'],
        ...['--batch-size', '3', '--epochs', '1', '--warmup-epochs', '0', '--warmup-teacher-temp-epochs', '0'],
        ...['--local-crops-number', '0', '--global-crops-size', '32', '--precision', 'fp32', '--num-workers', '1'],
        ...['--device', 'cpu', '--watch-images', 'none', '--out-dim', '16', '--init-with-head', 'false'],
      ],
      { encoding: 'utf8' },
    ); // prettier-ignore
    assert.equal(status, 0, stderr);
    assert.equal(stderr.match(GUESS)?.length, 1, stdout + stderr);
    const told: string[] = [];
    const onWarning = (message: string): number => told.push(message);
    assert.equal(settingsOfInit({ init: lone, numHeads: 3 }, onWarning).numHeads, 3);
    exportWeights(run, { format: 'pth', output: at('init.pth') });
    assert.equal(settingsOfInit({ init: at('init.pth') }, onWarning).numHeads, 3);
    assert.deepEqual(told, []);
    assert.equal(settingsOfInit({ init: lone }, onWarning).numHeads, 1);
    assert.match(told.join(), /doesn't say how many attention heads/);
  });
});

it('info of a file of a checkpoint says which network it is', () => {
  for (const key of ['teacher', 'student']) {
    const file = path.join(run, 'checkpoints', 'step-00000012', `${key}.safetensors`);
    assert.match(formatDescription(describeWeights(file)), new RegExp(`this is step 12 \\(${key}\\)`));
  }
});

describe('where something is written', () => {
  it('is looked at before the work: folders are made, and what can not be written is refused', async () => {
    for (const [name, ...beside] of [['f.npy', 'f.paths.jsonl'], ['f.parquet'], ['f.safetensors']] as const) {
      await dino('eval/embed', run, images, '--output', at('no', 'such', name), ...EMBED);
      assert.deepEqual(readdirSync(at('no', 'such')).sort(), [name, ...beside].sort());
      rmSync(at('no'), { recursive: true });
    }
    for (const format of ['pth', 'safetensors', 'onnx']) {
      await dino('export/export', run, '--format', format, '--output', at('no', 'such', 'w'));
      assert.ok(existsSync(at('no', 'such', 'w')));
      rmSync(at('no'), { recursive: true });
    }
    mkdirSync(at('folder.npy'));
    mkdirSync(at('names.paths.jsonl'));
    writeFileSync(at('file'), '');
    const knn = ['eval/knn', run, '--train', images, '--val', images] as const;
    for (const [[command, ...args], pattern] of [
      [['eval/embed', run, images, '--output', at('folder.npy'), ...EMBED], /it is a folder; give the name/],
      [['eval/embed', run, images, '--output', at('names.npy'), ...EMBED], /names\.paths\.jsonl can't be written: it is a folder/],
      [['eval/embed', run, images, '--output', at('file', 'f.npy'), ...EMBED], /f\.npy can't be written: .*file is a file, not a folder/],
      [['export/export', run, '--format', 'pth', '--output', at('folder.npy')], /it is a folder; give the name/],
      [['export/export', run, '--format', 'onnx', '--output', at('folder.npy')], /it is a folder; give the name/],
      [['export/export', run, '--format', 'web', '--output', at('file')], /the folder .*file can't be written: .*is a file, not a folder/],
      [[...knn, '--dump-features', at('file'), ...EMBED], /is a file, not a folder/],
    ] as const) {
      await assert.rejects(dino(command, ...args), (error: Error & { written: string }) => {
        assert.match(error.message, pattern);
        // before the first image
        assert.doesNotMatch(error.written, /images: \d|features of/, args.join(' '));
        return true;
      });
    } // prettier-ignore
  });
});
