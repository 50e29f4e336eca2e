/** The commands on an index as a user runs them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { writeColourFolders, writeTinyRun } from '../../testing/saved-run.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-explore-'));
const images = path.join(folder, 'images');
const index = path.join(folder, 'photos.index');
before(async () => {
  writeTinyRun(path.join(folder, 'run'));
  await writeColourFolders(images, 4);
  copyFileSync(path.join(images, 'red', 'red 2.png'), path.join(images, 'red', 'copy.png'));
});
after(() => rmSync(folder, { recursive: true }));

function dino(args: readonly string[], expected = 0) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8' });
  assert.equal(status, expected, stderr);
  return { stdout, stderr };
}
const json = <T>(...args: string[]): T => JSON.parse(dino([...args, '--json']).stdout) as T;
const names = (files: readonly string[]): string[] => files.map((file) => path.basename(file));

it('index, search and the rest give what their --json says, as lists and folders too', () => {
  const made = json<{ images: number; added: number; seconds: number }>(
    ...[
      'index',
      path.join(folder, 'run'),
      images,
      '--output',
      index,
      '--num_workers',
      '0',
      '--device',
      'cpu',
    ],
  );
  assert.deepEqual([made.images, made.added], [13, 13]);

  const green = path.join(images, 'green', 'green 1.png');
  const found = json<{ matches: { path: string; similarity: number }[] }>(
    ...['search', index, green, '--minus', path.join(images, 'red', 'red 1.png'), '--top', '3'],
  );
  assert.ok(found.matches.every((match) => path.basename(match.path).startsWith('green')));
  const region = dino([
    'search',
    index,
    green,
    '--region',
    '0.1,0.1,0.5,0.5',
    '--top',
    '2',
    '--device',
    'cpu',
  ]);
  assert.match(region.stdout, /^[01]\.\d{4} {2}.*green/);

  const links = path.join(folder, 'links');
  const twins = json<{ groups: { keep: { path: string }; copies: { path: string }[] }[] }>(
    ...['duplicates', index, '--threshold', '0.99999', '--link-to', links],
  );
  const group = twins.groups.find(({ keep, copies }) =>
    names([keep.path, ...copies.map((copy) => copy.path)]).includes('copy.png'),
  );
  assert.deepEqual(names([group!.keep.path, ...group!.copies.map((copy) => copy.path)]).sort(), [
    'copy.png',
    'red 2.png',
  ]);
  assert.equal(readdirSync(links).length, twins.groups.length);
  const linked = readdirSync(links, { recursive: true })
    .map(String)
    .find((file) => file.endsWith('copy.png'))!;
  assert.ok(lstatSync(path.join(links, linked)).isSymbolicLink());

  const odd = json<{ outliers: { path: string; distance: number }[] }>(
    'outliers',
    index,
    '--top',
    '4',
    '--k',
    '2',
  );
  assert.equal(odd.outliers.length, 4);
  assert.ok(odd.outliers[0]!.distance >= odd.outliers[3]!.distance);

  const copies = path.join(folder, 'kinds');
  const kinds = json<{ clusters: { size: number; images: string[] }[] }>(
    ...['cluster', index, '--clusters', '3', '--copy-to', copies],
  );
  assert.deepEqual(
    kinds.clusters.map(({ size }) => size),
    [5, 4, 4],
  );
  assert.deepEqual(readdirSync(copies).sort(), ['cluster-1', 'cluster-2', 'cluster-3']);
  assert.deepEqual(
    readdirSync(path.join(copies, 'cluster-1'))
      .map((name) => name.slice(2))
      .sort(),
    names(kinds.clusters[0]!.images).sort(),
  );

  const list = path.join(folder, 'label', 'these.txt');
  const first = json<{ selected: string[] }>('select', index, '--size', '3', '--output', list);
  assert.equal(new Set(first.selected.map((file) => path.dirname(file))).size, 3);
  assert.deepEqual(readFileSync(list, 'utf8').trim().split('\n'), first.selected);
  const next = json<{ selected: string[] }>(
    ...['select', index, '--size', '10', '--by', 'diverse', '--labelled', list],
  );
  assert.ok(next.selected.every((file) => !first.selected.includes(file)));
});

it('does not replace a file by a list, and says whose images an index from elsewhere names', () => {
  const kept = path.join(folder, 'run', 'config.json');
  const before = readFileSync(kept, 'utf8');
  const { stderr } = dino(['select', index, '--size', '2', '--output', kept], 2);
  assert.match(stderr, /config\.json already exists, and nothing is replaced: .*config-2\.json is not taken/);
  assert.equal(readFileSync(kept, 'utf8'), before);

  // an index that somebody else made, of a folder of this machine
  const foreign = path.join(folder, 'downloads', 'foreign.index');
  cpSync(index, foreign, { recursive: true });
  const run = (...args: string[]) => dino(['select', foreign, '--size', '1', ...args]);
  const near = dino(['select', index, '--size', '1', '--copy-to', path.join(folder, 'near')]);
  assert.doesNotMatch(near.stderr, /are read from/);
  assert.match(
    run('--copy-to', path.join(folder, 'far')).stderr,
    /the images are read from .*images, as .*foreign\.index says/,
  );
  const [victim] = (JSON.parse(run('--json').stdout) as { selected: [string] }).selected;
  rmSync(victim);
  writeFileSync(path.join(folder, 'private.png'), 'private');
  symlinkSync(path.join(folder, 'private.png'), victim);
  const refused = dino(['select', foreign, '--size', '1', '--copy-to', path.join(folder, 'out')], 1);
  assert.match(refused.stderr, /a link leads to .*private\.png, outside/);
});

it('index --whiten says how features are compared, and duplicates takes the threshold that goes with it', () => {
  const whitened = path.join(folder, 'whitened.index');
  const flags = ['--output', whitened, '--num-workers', '0', '--device', 'cpu'];
  const { stdout } = dino(['index', path.join(folder, 'run'), images, ...flags, '--whiten', 'center']);
  assert.match(stdout, /features are centred before they are compared: asked for center/);
  const { threshold } = json<{ threshold: number }>('duplicates', whitened);
  assert.ok(threshold > 0.5 && threshold < 1 && threshold !== 0.95, String(threshold));
  assert.match(dino(['duplicates', whitened]).stdout, /images are copies at 0\.\d{1,4}\n/);
  const again = json<{ added: number; whitening: { mode: string } }>(
    ...['index', path.join(folder, 'run'), images, ...flags, '--whiten', 'pca'],
  );
  assert.deepEqual([again.added, again.whitening.mode], [0, 'center']); // fewer than 16 images
  assert.match(
    dino(['index', path.join(folder, 'run'), images, ...flags]).stdout,
    /too few to whiten features with/,
  );
  const { stderr } = dino(['index', path.join(folder, 'run'), images, ...flags, '--whiten', 'zca'], 2);
  assert.match(stderr, /--whiten.*auto.*pca.*center.*none/s);
});

it('says all that is wrong with a command line, and what to do without an index', () => {
  const { stderr } = dino(['select', index, '--by', 'luck', '--copy-to', images, '--threshold', '1'], 2);
  for (const part of [/--size is missing/, /--by is luck/, /is not empty/, /unknown flag --threshold/])
    assert.match(stderr, part);
  assert.match(dino(['search', folder, 'a.png'], 1).stderr, /is not an index.*dino index WEIGHTS IMAGES/);
  assert.match(dino(['search', index, 'a.png', '--region', '1,2'], 2).stderr, /expected x,y,width,height/);
  for (const name of ['index', 'search', 'duplicates', 'outliers', 'cluster', 'select'])
    assert.match(dino([name, '--help']).stdout, new RegExp(`Example:\n {2}dino ${name} `));
});
