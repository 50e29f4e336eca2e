/** A folder with a web export that somebody else made: a second export there touches nothing outside it. */
import assert from 'node:assert/strict';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, beforeEach, it } from 'node:test';
import { CheckpointError, DataError } from '../../errors.js';
import { Model } from '../../model.js';
import { buildBackbone } from '../../models/index.js';
import type { WebManifest } from '../../plain/web-manifest.js';
import { hashFill } from '../../testing/hash-fill.js';
import { exportWeb } from './export-web.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-web-foreign-'));
const options = { arch: 'vit', patchSize: 8, imgSize: 32, embedDim: 32, depth: 1, numHeads: 2 } as const;
const model = new Model(hashFill(buildBackbone(options), 0.1).eval(), options, 'memory', 'cpu');
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

const site = path.join(folder, 'site');
const victim = path.join(folder, 'victim');
const manifestFile = path.join(site, 'model.json');
const names = (place: string): string[] => readdirSync(place, { recursive: true }).map(String).sort();

beforeEach(async () => {
  for (const place of [site, victim]) rmSync(place, { recursive: true, force: true });
  mkdirSync(victim);
  writeFileSync(path.join(victim, 'diary.txt'), 'dear diary');
  await exportWeb(model, site);
});

/** Adds names to the files that the manifest lists. */
function list(...added: string[]): void {
  const manifest = JSON.parse(readFileSync(manifestFile, 'utf8')) as WebManifest;
  writeFileSync(manifestFile, JSON.stringify({ ...manifest, files: [...added, ...manifest.files] }));
}

async function refused(message: RegExp): Promise<void> {
  const before = names(site);
  const manifest = readFileSync(manifestFile, 'utf8');
  await assert.rejects(
    exportWeb(model, site),
    (error) => error instanceof DataError && message.test(error.message),
  );
  assert.deepEqual(names(site), before);
  assert.equal(readFileSync(manifestFile, 'utf8'), manifest);
  assert.equal(readFileSync(path.join(victim, 'diary.txt'), 'utf8'), 'dear diary');
  assert.deepEqual(names(victim), ['diary.txt']);
}

it('deletes nothing through a link', async () => {
  symlinkSync(victim, path.join(site, 'link'));
  list('link/diary.txt');
  await refused(/link is a symbolic link \(to ".*victim"\)/);
});

it('writes nothing through a link', async () => {
  const assets = path.join(site, 'assets');
  renameSync(assets, path.join(folder, 'assets'));
  symlinkSync(victim, assets);
  await refused(/assets is a symbolic link/);
  rmSync(path.join(folder, 'assets'), { recursive: true });
});

it('of a link where a file of the export is, replaces only the link', async () => {
  const diary = path.join(victim, 'diary.txt');
  for (const name of ['model.onnx', 'listed']) {
    rmSync(path.join(site, name), { force: true });
    symlinkSync(diary, path.join(site, name));
  }
  list('listed');
  await exportWeb(model, site);
  assert.equal(readFileSync(diary, 'utf8'), 'dear diary');
  assert.ok(lstatSync(path.join(site, 'model.onnx')).isFile());
  assert.ok(!existsSync(path.join(site, 'listed')));
});

it('names a folder where a file of the export should be, and a file where a folder should be', async () => {
  mkdirSync(path.join(site, 'mine'));
  list('mine');
  await refused(/mine is a folder, and the export in .*site has a file there/);
  rmSync(path.join(site, 'mine'), { recursive: true });
  writeFileSync(path.join(site, 'mine'), 'text');
  list('mine/below');
  await refused(/mine is a regular file, and the export in .*site has a folder there/);
});

it('leaves alone what a manifest names outside the folder, and refuses names that no file has', async () => {
  list('../victim/diary.txt', path.join(victim, 'diary.txt'), '.', '');
  await exportWeb(model, site);
  assert.deepEqual(names(victim), ['diary.txt']);
  list('a\0b');
  await refused(/is not an earlier export/);
  await exportWeb(model, path.join(folder, 'new')); // ours is not at fault
  list('x'.repeat(300));
  await assert.rejects(exportWeb(model, site), DataError);
});

it('takes no manifest through a link, and no file for a folder', async () => {
  const elsewhere = path.join(folder, 'elsewhere.json');
  renameSync(manifestFile, elsewhere);
  symlinkSync(elsewhere, manifestFile);
  await assert.rejects(exportWeb(model, site), /is not an earlier export/);
  await assert.rejects(exportWeb(model, path.join(victim, 'diary.txt')), CheckpointError);
});
