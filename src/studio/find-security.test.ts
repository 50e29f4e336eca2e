/**
 * Find and map, attacked by somebody who can put files under the given folders but not outside: links among the images, a
 * list of paths, and an index written by hand. Nothing outside is read or written.
 */
import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
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
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import sharp from 'sharp';
import { writeFileWhole } from '../files/atomic-file.js';
import { buildIndex } from '../explore/build-index.js';
import { ImageIndex } from '../explore/image-index.js';
import { type IndexManifest, manifestPath, readManifest, sealFile } from '../explore/index-format.js';
import { findGeneration } from '../testing/find-generation.js';
import { writeTinyRun } from '../testing/saved-run.js';
import { loadModel } from '../model.js';
import type { FindAnswer, FoundImage, Task } from '../plain/studio-api/index.js';
import { type RunningStudio, startStudio } from './index.js';

const top = mkdtempSync(path.join(os.tmpdir(), 'dino-find-security-'));
const given = path.join(top, 'given');
const images = path.join(given, 'images');
const run = path.join(given, 'run');
const good = path.join(given, 'good.index');
const away = path.join(top, 'away');
const secret = path.join(away, 'secret.png');
let studio: RunningStudio;

const send = async (route: string, body?: unknown): Promise<{ status: number; text: string }> => {
  const response = await fetch(`${studio.origin}${route}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${studio.token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, text: await response.text() };
};
const ask = (index: string, question: object) =>
  send('/api/find/ask', { index, ask: { generation: findGeneration(index), ...question } });
const imagesOf = (text: string): FoundImage[] => {
  const answer = JSON.parse(text) as FindAnswer;
  return answer.kind === 'images' ? answer.images : [];
};

/** Makes an index through the page's route and waits for it. */
async function make(source: string, output: string): Promise<Task> {
  const { status, text } = await send('/api/find/index', { weights: run, images: source, output });
  assert.equal(status, 200, text);
  const { id } = JSON.parse(text) as Task;
  for (;;) {
    const tasks = JSON.parse((await send('/api/tasks')).text) as Task[];
    const task = tasks.find((one) => one.id === id)!;
    if (task.state !== 'running') return task;
    await sleep(50);
  }
}

/** A copy of the good index, changed as by hand, with its checksums made right again. */
function forged(name: string, change: (folder: string, manifest: IndexManifest) => void): string {
  const folder = path.join(given, name);
  cpSync(good, folder, { recursive: true });
  const manifest = readManifest(folder);
  change(folder, manifest);
  manifest.files.images = sealFile(folder, manifest.files.images.name);
  writeFileSync(manifestPath(folder), JSON.stringify(manifest));
  return folder;
}

before(async () => {
  mkdirSync(images, { recursive: true });
  mkdirSync(away);
  writeTinyRun(run);
  const picture = (background: string) =>
    sharp({ create: { width: 40, height: 40, channels: 3, background } });
  for (const colour of ['red', 'green', 'blue', 'white'])
    await picture(colour)
      .png()
      .toFile(path.join(images, `${colour}.png`));
  await picture('yellow').png().toFile(secret);
  writeFileSync(path.join(away, 'words.json'), 'hush hush\n');
  using model = loadModel(run, { device: 'cpu' });
  await buildIndex(model, images, { output: good, numWorkers: 0, weights: { given: run } });
  symlinkSync(secret, path.join(images, 'link.png'));
  symlinkSync(away, path.join(images, 'folder'));
  symlinkSync(path.join(images, 'red.png'), path.join(images, 'within.png'));
  process.chdir(top); // to which relative paths of an index would lead
  studio = await startStudio({ folders: [given], port: 0 });
});
after(async () => {
  await studio.close();
  rmSync(top, { recursive: true });
});

describe('making an index', () => {
  const names = (folder: string): string[] => {
    using index = ImageIndex.open(folder);
    return index.images.map((image) => image.path);
  };

  it('leaves out what links among the images lead to outside, and says so', async () => {
    const output = path.join(given, 'linked.index');
    assert.equal((await make(images, output)).state, 'done');
    // within.png leads to red.png, which counts once, and is not among the skipped
    assert.deepEqual(names(output), ['blue.png', 'green.png', 'red.png', 'white.png']);
    const { text } = await ask(output, { kind: 'about' });
    const { about } = JSON.parse(text) as Extract<FindAnswer, { kind: 'about' }>;
    assert.equal(about.skipped.count, 2);
    assert.deepEqual(about.skipped.first.map((one) => one.path).sort(), ['folder', 'link.png']);
    for (const { reason } of about.skipped.first) assert.match(reason, /outside/);
    // not even what a folder outside holds
    for (const file of readdirSync(output))
      assert.doesNotMatch(readFileSync(path.join(output, file), 'latin1'), /secret/);
  });

  it('leaves out files outside that a list names, whatever the path looks like', async () => {
    const list = path.join(given, 'list.txt');
    const lines = [
      'images/red.png',
      secret,
      '../away/secret.png',
      'images/link.png',
      'images/folder/secret.png',
      `${path.join(away, 'shard.tar')}::secret.png`,
    ];
    writeFileSync(list, lines.join('\n'));
    const output = path.join(given, 'listed.index');
    assert.equal((await make(list, output)).state, 'done');
    assert.deepEqual(names(output), ['images/red.png']);
    const { text } = await ask(output, { kind: 'about' });
    assert.match(text, /"skipped":\{"count":5,/);
    writeFileSync(list, `${secret}\n`);
    const task = await make(list, path.join(given, 'nothing.index'));
    assert.equal(task.state, 'failed');
    assert.match(task.error!, /outside/);
  });

  it('opens no shard that a link leads to outside', async () => {
    // if it were opened, its damage would be told
    writeFileSync(path.join(away, 'train-0.tar'), 'hush hush');
    const source = path.join(given, 'shards');
    mkdirSync(source);
    symlinkSync(path.join(away, 'train-0.tar'), path.join(source, 'train-0.tar'));
    const task = await make(source, path.join(given, 'shards.index'));
    assert.equal(task.state, 'failed');
    assert.match(task.error!, /outside/);
    assert.deepEqual(readdirSync(away).sort(), ['secret.png', 'train-0.tar', 'words.json']);
  });

  it('reads no weights that a run’s link leads to outside', async () => {
    const trap = path.join(given, 'trap');
    cpSync(run, trap, { recursive: true });
    const file = path.join(trap, 'checkpoints', 'step-00000012', 'teacher.safetensors');
    renameSync(file, path.join(away, 'teacher.safetensors'));
    symlinkSync(path.join(away, 'teacher.safetensors'), file);
    const reply = await send('/api/find/index', {
      ...{ weights: trap, images, output: path.join(given, 'trapped.index') },
    });
    assert.equal(reply.status, 403, reply.text);
  });

  it('writes through no link in the folder of the index', async () => {
    for (const target of [path.join(away, 'words.json'), path.join(away, 'new')])
      for (const name of ['features-1.safetensors', 'map-0.safetensors', 'index.json', 'labels.json']) {
        const folder = path.join(given, 'planted.index');
        cpSync(good, folder, { recursive: true });
        rmSync(path.join(folder, name), { force: true });
        symlinkSync(target, path.join(folder, name));
        for (const [route, body] of [
          ['/api/find/index', { weights: run, images, output: folder }],
          ['/api/find/map', { index: folder }],
        ] as const)
          assert.equal((await send(route, body)).status, 403, `${name} ${route}`);
        rmSync(folder, { recursive: true });
      }
    assert.equal(readFileSync(path.join(away, 'words.json'), 'utf8'), 'hush hush\n');
    assert.ok(!existsSync(path.join(away, 'new')));
  });
});

describe('a file that is written at once', () => {
  it('is not written through a link that waits under its temporary name', () => {
    const file = path.join(given, 'whole.txt');
    symlinkSync(path.join(away, 'words.json'), path.join(given, `.whole.txt.${process.pid}.tmp`));
    writeFileWhole(file, 'mine');
    assert.equal(readFileSync(file, 'utf8'), 'mine');
    assert.equal(readFileSync(path.join(away, 'words.json'), 'utf8'), 'hush hush\n');
  });
});

describe('an export', () => {
  it('replaces nothing: not a file of a run, not a folder that is not empty, not the target of a link', async () => {
    const kept = path.join(given, 'kept.txt');
    writeFileSync(kept, 'kept');
    const link = path.join(given, 'link-to-kept');
    symlinkSync(kept, link);
    const config = path.join(run, 'config.json');
    const before = readFileSync(config, 'utf8');
    const groups = [{ label: '', rows: [0] }];
    for (const [how, target] of [
      ['list', config],
      ['list', kept],
      ['list', link],
      ['list', path.join(given, 'dangling')],
      ['list', run],
      ['copy', kept],
      ['copy', run],
      ['link', images],
    ] as const) {
      if (target.endsWith('dangling')) symlinkSync(path.join(given, 'nothing'), target);
      const { status, text } = await ask(good, { kind: 'export', how, target, groups });
      assert.ok(status === 409 || status === 403, `${how} ${target}: ${status} ${text}`);
      if (status === 409) assert.match(text, /"TAKEN".*is not taken/, target);
    }
    assert.equal(readFileSync(config, 'utf8'), before);
    assert.equal(readFileSync(kept, 'utf8'), 'kept');
    assert.ok(!existsSync(path.join(given, 'nothing')));
  });

  it('of an index does not replace an index of other images', async () => {
    const others = path.join(given, 'others');
    cpSync(images, others, { recursive: true });
    const before = readFileSync(manifestPath(good), 'utf8');
    const reply = await send('/api/find/index', { weights: run, images: others, output: good });
    assert.equal(reply.status, 409, reply.text);
    assert.match(reply.text, /is the index of .*images.*good-2\.index is not taken/);
    assert.equal((await send('/api/find/index', { weights: run, images, output: run })).status, 409);
    assert.equal(readFileSync(manifestPath(good), 'utf8'), before);
    const start = { images, preset: 'auto', overrides: {}, output: images };
    assert.equal((await send('/api/start/train', start)).status, 409);
    rmSync(others, { recursive: true });
  });
});

describe('names that every object has', () => {
  const names = ['__proto__', 'constructor', 'toString'];

  it('work as labels and as folders of an export, like other names', async () => {
    const index = path.join(given, 'named.index');
    cpSync(good, index, { recursive: true });
    for (const [row, label] of names.entries()) {
      const { status, text } = await ask(index, { kind: 'label', label, rows: [row] });
      assert.equal(status, 200, text);
    }
    const { text } = await ask(index, { kind: 'labels' });
    const { groups } = JSON.parse(text) as Extract<FindAnswer, { kind: 'labels' }>;
    assert.deepEqual(
      groups.map(({ label, rows }) => [label, rows]).sort(),
      names.map((name, row) => [name, [row]]).sort(),
    );
    const target = path.join(given, 'named');
    const reply = await ask(index, { kind: 'export', how: 'copy', target });
    assert.equal(reply.status, 200, reply.text);
    assert.match(reply.text, /"count":3/);
    assert.deepEqual(readdirSync(target).sort(), [...names].sort());
    for (const name of names) assert.equal(readdirSync(path.join(target, name)).length, 1);
    const list = path.join(given, 'named.txt');
    assert.equal((await ask(index, { kind: 'export', how: 'list', target: list })).status, 200);
    assert.equal(readFileSync(list, 'utf8').trim().split('\n').length, 3);
  });

  it('work as classes of images', async () => {
    const source = path.join(given, 'classes');
    for (const [i, name] of names.entries()) {
      mkdirSync(path.join(source, name), { recursive: true });
      cpSync(path.join(images, ['red', 'green', 'blue'][i]! + '.png'), path.join(source, name, 'a.png'));
    }
    const output = path.join(given, 'classes.index');
    assert.equal((await make(source, output)).state, 'done');
    const found = imagesOf((await ask(output, { kind: 'images', rows: [0, 1, 2] })).text);
    assert.deepEqual(found.map(({ label }) => label).sort(), [...names].sort());
  });
});

describe('an index written by hand', () => {
  const paths = (): string[] => [
    '../../away/secret.png',
    secret,
    'link.png',
    'folder/secret.png',
    '../images/folder/../../../away/secret.png',
  ];

  it('gains nothing by naming images outside: no region, no picture, no export', async () => {
    for (const [i, name] of paths().entries()) {
      const index = forged(`named-${i}.index`, (folder, { files }) => {
        const file = path.join(folder, files.images.name);
        const [first, ...rest] = readFileSync(file, 'utf8').split('\n');
        const changed = { ...(JSON.parse(first!) as object), path: name };
        writeFileSync(file, [JSON.stringify(changed), ...rest].join('\n'));
      });
      const search = { kind: 'search', plus: [0], minus: [], top: 3, region: [0, 0, 0.5, 0.5] };
      const asked = await ask(index, search);
      assert.equal(asked.status, 403, `${name}: ${asked.text}`);
      const [image] = imagesOf((await ask(index, { kind: 'images', rows: [0] })).text);
      const picture = await send(`/api/picture?path=${encodeURIComponent(image!.path)}`);
      assert.equal(picture.status, 403, name);
      for (const how of ['list', 'copy', 'link']) {
        const target = path.join(given, `out-${i}-${how}`);
        const groups = [{ label: '', rows: [1, 0] }];
        assert.equal((await ask(index, { kind: 'export', how, target, groups })).status, 403, name);
        assert.ok(!existsSync(target));
      }
    }
  });

  it('does not break later questions to other indexes', async () => {
    const cut = forged('cut.index', () => undefined);
    assert.equal((await ask(good, { kind: 'about' })).status, 200);
    writeFileSync(path.join(cut, 'features-0.safetensors'), 'cut');
    for (let i = 0; i < 3; i++) assert.equal((await ask(cut, { kind: 'about' })).status, 422);
    const { status, text } = await ask(good, { kind: 'about' });
    assert.equal(status, 200, text);
  });

  it('still finds a region of an image that lies inside', async () => {
    const search = { kind: 'search', plus: [0], minus: [], top: 3, region: [0, 0, 0.5, 0.5] };
    const { status, text } = await ask(good, search);
    assert.equal(status, 200, text);
    assert.equal(imagesOf(text).length, 3);
  });

  it('of a root or weights outside is refused, also when their paths are relative to where the studio runs', async () => {
    const root = forged('root.index', (_, manifest) => (manifest.images.root = away));
    assert.equal((await ask(root, { kind: 'about' })).status, 403);
    const outside = path.join(away, 'weights.safetensors');
    cpSync(path.join(run, 'checkpoints', 'step-00000012', 'student.safetensors'), outside);
    // a file of the same relative path lies under the given folder, but the process would read the other one
    const relative = path.relative(top, outside);
    const decoy = path.resolve(given, relative);
    mkdirSync(path.dirname(decoy), { recursive: true });
    cpSync(outside, decoy);
    for (const file of [outside, relative]) {
      const name = `weights-${file === relative ? 'relative' : 'absolute'}.index`;
      const index = forged(name, (_, manifest) => (manifest.weights.file = file));
      assert.equal((await ask(index, { kind: 'about' })).status, 403, file);
    }
  });

  it('shows nothing of files that its own files link to', async () => {
    for (const name of [
      'index.json',
      'images-0.jsonl',
      'skipped-0.jsonl',
      'features-0.safetensors',
      'labels.json',
    ]) {
      const index = path.join(given, `links-${name}.index`);
      cpSync(good, index, { recursive: true });
      rmSync(path.join(index, name), { force: true });
      symlinkSync(path.join(away, 'words.json'), path.join(index, name));
      const { status, text } = await ask(index, { kind: 'about' });
      assert.equal(status, 403, `${name}: ${text}`);
      assert.doesNotMatch(text, /hush/);
    }
  });
});
