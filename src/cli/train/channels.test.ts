/** Images of four channels on the command line: from the first training to what other commands say. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import type { TrainSettings } from '../../run/settings.js';
import { makeChannelFolder } from '../../testing/channel-folder.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-channels-'));
after(() => rmSync(folder, { recursive: true }));
const images = path.join(folder, 'tiles');
before(async () => {
  makeChannelFolder(images, { perClass: 10 });
  const photo = { create: { width: 40, height: 40, channels: 3, background: 'red' } } as const;
  writeFileSync(path.join(images, 'class-0', 'photo.png'), await sharp(photo).png().toBuffer());
});

function dino(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], {
    encoding: 'utf8',
    cwd: folder,
  });
  return { status, stdout, stderr };
}

const SMALL = [
  ...['--arch', 'vit', '--embed-dim', '32', '--depth', '2', '--num-heads', '2', '--head-hidden-dim', '32'],
  ...[
    '--out-dim',
    '32',
    '--batch-size',
    '4',
    '--local-crops-number',
    '2',
    '--device',
    'cpu',
    '--threads',
    '1',
  ],
];

test('dino train --channels measures, says what it leaves out, and other commands know', () => {
  const trained = dino('train', images, '--output', 'run', '--channels', '4', ...SMALL, '--epochs', '1');
  assert.equal(trained.status, 0, trained.stderr);
  assert.match(trained.stderr, /--mean 0\.0\d+,0\.0\d+,0\.0\d+,0\.0\d+: measured over 20 images/);
  assert.match(trained.stderr, /--solarize-probability 0: left out: it has a meaning for 8-bit RGB only/);
  assert.match(
    trained.stderr,
    /1 of the 21 images .* can't be used; the first: .*photo\.png: it has 3 channels/,
  );
  assert.match(trained.stderr, /4 channels as they are: --mean 0\.0/);
  const { settings } = JSON.parse(readFileSync(path.join(folder, 'run/config.json'), 'utf8')) as {
    settings: TrainSettings;
  };
  assert.equal(settings.mean!.length, 4);

  const info = dino('info', 'run');
  assert.match(info.stdout, /channels {6}4 as they are stored, up to 16 bits, white is 1: mean 0\.0/);
  const embedded = dino('embed', 'run', images, '--output', 'features.safetensors', '--json');
  assert.equal(embedded.status, 0, embedded.stderr);
  assert.match(embedded.stderr, /photo\.png: it has 3 channels, not the 4 of --channels/);

  const shown = dino('attention', 'run', path.join(images, 'class-0', 'image-0.tif'), '--output', 'maps');
  assert.notEqual(shown.status, 0);
  assert.match(shown.stderr, /the model takes images of 4 channels as they are.*8-bit RGB only/);
  assert.doesNotMatch(shown.stderr, /internal|ShapeError|at .*\.js:/);
});

test('a list of another length is refused with the line that was typed', () => {
  const { status, stderr } = dino(
    'train',
    images,
    '--output',
    'bad',
    '--channels',
    '4',
    '--mean',
    '0.1',
    '0.2',
  );
  assert.notEqual(status, 0);
  assert.match(stderr, /mean has 2 values for 4 channels: give one for each/);
  assert.match(stderr, /mean needs std too|std/);
});
