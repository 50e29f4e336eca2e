/**
 * What the studio reads, whoever filled the folder that it was given: every route is asked for everything in a folder that is
 * full of links to a secret outside, and the system's calls are watched (strace) over the server and all processes that it
 * starts. Nothing but the folder, this package, the system's libraries and the user's cache is opened, and no reply has
 * a word of the secret.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Hono } from 'hono';
import sharp from 'sharp';
import { findLibtorch } from '../../scripts/find-libtorch.mjs';
import { indexPlaces } from '../data/list/shards/list-shards.js';
import { findGeneration } from '../testing/find-generation.js';
import { jpegOf, rawTar } from '../testing/shards.js';
import { buildIndex } from '../explore/build-index.js';
import { isBelow } from '../files/read-below.js';
import { putGood } from '../testing/strange-files.js';
import { trainWatchedRun, watchedPaths } from '../testing/watched-run.js';
import { frameName, listWatched } from '../run/film-folder.js';
import { loadModel } from '../model.js';
import type { LookUpload, RunSummary, Task } from '../plain/studio-api/index.js';
import { allRoutes } from './routes/index.js';
import type { Studio } from './routes/route.js';

const top = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'dino-reach-')));
const cache = path.join(top, 'cache');
const given = path.join(top, 'given');
/** A secret outside the given folders. */
const away = path.join(top, 'away');
const SECRET = 'hush-hush-7';
const trace = path.join(top, 'trace');
const paths = watchedPaths(given);
const { run, images } = paths;
const inGiven = (...parts: string[]): string => path.join(given, ...parts);
const inAway = (...parts: string[]): string => path.join(away, ...parts);

const hasStrace = spawnSync('strace', ['-f', '-o', '/dev/null', process.execPath, '-e', '0']).status === 0;

let child: ChildProcess;
let studio: { origin: string; token: string };
const replies: { what: string; status: number; text: string }[] = [];
const asked = new Set<string>();
/** Sources of images, weights, runs and indexes, each of which is a trap. */
const traps = { images: [] as string[], weights: [] as string[], pictures: [] as string[] };

/** Replaces a file or folder by a link. */
function trap(place: string, to: string): void {
  rmSync(place, { recursive: true, force: true });
  mkdirSync(path.dirname(place), { recursive: true });
  symlinkSync(to, place);
}

/** A copy of the good run, one of its files a link to the one of the run outside, or to words. */
function trappedRun(name: string, place: string, to: string): string {
  const folder = inGiven('runs', name);
  cpSync(run, folder, { recursive: true });
  trap(path.join(folder, place), to);
  return folder;
}

async function fill(): Promise<void> {
  mkdirSync(away);
  await trainWatchedRun(given);
  await sharp({ create: { width: 40, height: 40, channels: 3, background: 'yellow' } })
    .png()
    .toFile(inAway('secret.png'));
  writeFileSync(inAway('words.json'), `${SECRET} is no JSON\n`);
  writeFileSync(inAway('good.json'), JSON.stringify({ [SECRET]: SECRET, settings: SECRET, source: SECRET }));
  writeFileSync(inAway('note.json'), JSON.stringify({ text: SECRET, isHidden: false }));
  writeFileSync(inAway('lines.jsonl'), `{"path":"${SECRET}","reason":"${SECRET}","step":1,"${SECRET}":1}\n`);
  cpSync(run, inAway('run'), { recursive: true });

  const [watched] = listWatched(run);
  const step = readFileSync(path.join(run, 'checkpoints', 'latest'), 'utf8').trim();
  const checkpoint = path.join('checkpoints', step);
  const inWatch = (...parts: string[]): string => path.join('watch', watched!.name, ...parts);
  const frame = frameName(watched!.steps.at(-1)!);
  mkdirSync(path.join(run, 'evaluations'));
  writeFileSync(path.join(run, 'evaluations', 'mine.json'), '{}');
  for (const [name, place, to] of [
    ['evaluations', 'evaluations', away],
    ['evaluation', 'evaluations/mine.json', inAway('good.json')],
    ['evaluation-words', 'evaluations/mine.json', inAway('words.json')],
    ['skipped', 'skipped.jsonl', inAway('lines.jsonl')],
    ['note', 'note.json', inAway('note.json')],
    ['note-words', 'note.json', inAway('words.json')],
    ['metrics', 'metrics.jsonl', inAway('lines.jsonl')],
    ['config', 'config.json', inAway('words.json')],
    ['config-good', 'config.json', inAway('run', 'config.json')],
    ['checkpoints', 'checkpoints', inAway('run', 'checkpoints')],
    ['checkpoint', checkpoint, inAway('run', checkpoint)],
    ['latest', 'checkpoints/latest', inAway('words.json')],
    [
      'teacher',
      path.join(checkpoint, 'teacher.safetensors'),
      inAway('run', checkpoint, 'teacher.safetensors'),
    ],
    ['state', path.join(checkpoint, 'state.json'), inAway('words.json')],
    ['watch', 'watch', inAway('run', 'watch')],
    ['watched', inWatch(), inAway('run', inWatch())],
    ['watched-facts', inWatch('image.json'), inAway('run', inWatch('image.json'))],
    ['watched-picture', inWatch('image.png'), inAway('secret.png')],
    ['watched-frame', inWatch(frame), inAway('run', inWatch(frame))],
  ] as const) {
    const folder = trappedRun(name, place, to);
    traps.weights.push(folder, path.join(folder, checkpoint));
  }
  // beside a lone file, what tells of it
  for (const [name, beside] of [
    ['alone', 'config.json'],
    ['kept', 'state.json'],
  ] as const) {
    const file = inGiven('weights', name, 'model.safetensors');
    mkdirSync(path.dirname(file), { recursive: true });
    cpSync(path.join(run, checkpoint, 'teacher.safetensors'), file);
    trap(path.join(path.dirname(file), beside), inAway('words.json'));
    traps.weights.push(file, path.dirname(file));
  }
  // weights in several files: what names them, and one of them
  for (const [name, place, to] of [
    ['sharded-index', 'model.safetensors.index.json', inAway('words.json')],
    ['sharded-part', 'model-1.safetensors', inAway('run', checkpoint, 'teacher.safetensors')],
  ] as const) {
    const index = inGiven('weights', name, 'model.safetensors.index.json');
    mkdirSync(path.dirname(index), { recursive: true });
    writeFileSync(index, JSON.stringify({ weight_map: { 'backbone.cls_token': 'model-1.safetensors' } }));
    cpSync(
      path.join(run, checkpoint, 'teacher.safetensors'),
      inGiven('weights', name, 'model-1.safetensors'),
    );
    trap(inGiven('weights', name, place), to);
    traps.weights.push(path.dirname(index), index);
  }
  trap(inGiven('weights', 'link.safetensors'), inAway('run', checkpoint, 'teacher.safetensors'));
  trap(inGiven('weights', 'run'), inAway('run'));
  traps.weights.push(inGiven('weights', 'link.safetensors'), inGiven('weights', 'run'), inAway('run'));

  trap(inGiven('linked', 'link.png'), inAway('secret.png'));
  trap(inGiven('linked', 'folder'), away);
  await putGood(inGiven('linked'), 6);
  writeFileSync(
    inGiven('list.txt'),
    [
      `linked/good 0.png`,
      inAway('secret.png'),
      '../away/secret.png',
      'linked/link.png',
      'linked/folder/secret.png',
    ].join('\n'),
  );
  trap(inGiven('list-link.txt'), inAway('words.json'));
  const shard = rawTar([{ name: '1.jpg', content: await jpegOf(1) }]);
  writeFileSync(inAway('shard.tar'), shard);
  trap(inGiven('shards', 'link', 'a.tar'), inAway('shard.tar'));
  for (const name of ['described', 'indexed']) {
    mkdirSync(inGiven('shards', name), { recursive: true });
    writeFileSync(inGiven('shards', name, 'a.tar'), shard);
  }
  trap(inGiven('shards', 'described', 'dino-shards.json'), inAway('words.json'));
  trap(indexPlaces([inGiven('shards', 'indexed', 'a.tar')]).places[0]!, inAway('words.json'));
  writeFileSync(inGiven('shard-list.txt'), `shards/link/a.tar::1.jpg\n${inAway('shard.tar')}::1.jpg\n`);
  traps.images.push(
    ...[
      'linked',
      'list.txt',
      'list-link.txt',
      'shards/link',
      'shards/described',
      'shards/indexed',
      'shard-list.txt',
    ].map((name) => inGiven(name)),
    inGiven('linked', 'folder'),
    away,
  );
  traps.pictures.push(
    ...['link.png', 'folder/secret.png', 'folder/words.json'].map((name) => inGiven('linked', name)),
    inAway('secret.png'),
    inGiven('runs', 'watched-picture', inWatch('image.png')),
  );
  using model = loadModel(run, { device: 'cpu' });
  const options = { numWorkers: 0, weights: { given: run } };
  await buildIndex(model, path.join(images, 'class-0'), { output: inGiven('good.index'), ...options });
}

async function send(route: string, address: string, body?: unknown): Promise<string> {
  asked.add(route);
  const [method] = route.split(' ') as [string];
  const response = await fetch(studio.origin + address, {
    method,
    headers: { authorization: `Bearer ${studio.token}`, 'content-type': 'application/json' },
    ...(method === 'GET'
      ? {}
      : {
          body: body instanceof Uint8Array ? (body as Uint8Array<ArrayBuffer>) : JSON.stringify(body ?? {}),
        }),
  });
  const text = Buffer.from(await response.arrayBuffer()).toString('latin1');
  replies.push({
    what: `${route} ${address} ${body instanceof Uint8Array ? '' : JSON.stringify(body ?? '')}`,
    status: response.status,
    text,
  });
  return text;
}
const post = (address: string, body: unknown): Promise<string> => send(`POST ${address}`, address, body);
const statusOf = (): number => replies.at(-1)!.status;

/** Waits for all tasks that were started. */
async function settled(): Promise<Task[]> {
  for (;;) {
    const tasks = JSON.parse(await send('GET /api/tasks', '/api/tasks')) as Task[];
    if (tasks.every(({ state }) => state !== 'running')) return tasks;
    await sleep(100);
  }
}

before(async () => {
  await fill();
  const script = fileURLToPath(new URL('../testing/studio-child.js', import.meta.url));
  const command = [process.execPath, script, given];
  const watch = [
    '-f',
    '-qq',
    '-y',
    '-s',
    '4096',
    '-e',
    'trace=open,openat,openat2,execve',
    '-o',
    trace,
    '--',
  ];
  const [program, ...args] = hasStrace ? ['strace', ...watch, ...command] : command;
  child = spawn(program!, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, XDG_CACHE_HOME: cache },
  });
  const [line] = (await once(child.stdout!, 'data')) as [Buffer];
  studio = JSON.parse(line.toString()) as typeof studio;
});
after(async () => {
  // killing strace would leave the studio behind
  child.stdin!.end();
  if (child.exitCode === null) await Promise.race([once(child, 'exit'), sleep(10_000)]);
  child.kill('SIGKILL');
  rmSync(top, { recursive: true });
});

describe('the studio', { timeout: 280_000 }, () => {
  it('shows only folders and pictures that it was given', async () => {
    await send('GET /api/studio', '/api/studio');
    for (const folder of ['', given, inGiven('linked'), inGiven('runs'), inGiven('linked', 'folder'), away])
      await send('GET /api/folders', `/api/folders?path=${encodeURIComponent(folder)}`);
    for (const picture of traps.pictures) {
      await send('GET /api/picture', `/api/picture?path=${encodeURIComponent(picture)}`);
      assert.ok([400, 403, 404].includes(statusOf()), `${picture}: ${statusOf()}`);
    }
    await send('GET /api/picture', `/api/picture?path=${encodeURIComponent(paths.picture)}`);
    assert.equal(statusOf(), 200);
  });

  it('shows runs from their own files only', async () => {
    const runs = JSON.parse(await send('GET /api/runs', '/api/runs')) as RunSummary[];
    assert.ok(runs.length > 15);
    for (const { id, name } of runs) {
      await send('GET /api/runs/:run', `/api/runs/${id}`);
      const series = new URLSearchParams({
        axis: 'step',
        width: '100',
        columns: `loss,${SECRET.replace('-', '')}`,
      });
      await send('GET /api/runs/:run/series', `/api/runs/${id}/series?${series.toString()}`);
      const watch = await send('GET /api/runs/:run/watch', `/api/runs/${id}/watch`);
      const listed = statusOf() === 200 ? (JSON.parse(watch) as { name: string; steps: number[] }[]) : [];
      for (const { name: image, steps } of listed) {
        const address = `/api/runs/${id}/watch/${encodeURIComponent(image)}`;
        await send('GET /api/runs/:run/watch/:image/picture', `${address}/picture`);
        await send('GET /api/runs/:run/watch/:image/original', `${address}/original`);
        await send('GET /api/runs/:run/frames/:step', `/api/runs/${id}/frames/${steps.at(-1)}`);
      }
      await send('POST /api/runs/:run/stop', `/api/runs/${id}/stop`);
      assert.notEqual(statusOf(), 200);
      // a note that is a link is neither read nor written through
      const isTrap = name.startsWith(`runs${path.sep}note`);
      const note = { text: 'mine', before: '' };
      await send('POST /api/runs/:run/note', `/api/runs/${id}/note`, note);
      assert.equal(statusOf(), isTrap ? 422 : 200, replies.at(-1)!.text);
      await send('POST /api/runs/:run/hidden', `/api/runs/${id}/hidden`, { isHidden: false });
      assert.equal(statusOf(), isTrap ? 422 : 200, replies.at(-1)!.text);
    }
    const controller = new AbortController();
    asked.add('GET /api/events');
    const response = await fetch(`${studio.origin}/api/events`, {
      headers: { authorization: `Bearer ${studio.token}` },
      signal: controller.signal,
    });
    const { value } = (await response.body!.getReader().read()) as { value: Uint8Array };
    replies.push({ what: 'events', status: 200, text: Buffer.from(value).toString('latin1') });
    controller.abort();
  });

  it('looks with the weights that it was given, at its own images', async () => {
    await send('GET /api/look/models', '/api/look/models');
    await send('GET /api/look/samples', '/api/look/samples');
    const upload = readFileSync(paths.picture);
    await send('POST /api/upload/look', '/api/upload/look', new Uint8Array(upload));
    assert.equal(statusOf(), 200);
    const look = (weights: string, file: string) =>
      post('/api/look', { weights, checkpointKey: 'teacher', images: [{ path: file }], side: 32 });
    for (const weights of traps.weights) await look(weights, paths.picture);
    for (const picture of traps.pictures) {
      await look(run, picture);
      assert.ok([400, 403, 404].includes(statusOf()), picture);
    }
    await look(run, paths.picture);
    assert.equal(statusOf(), 200, replies.at(-1)!.text);
  });

  it('indexes and finds nothing of what lies outside', async () => {
    const index = inGiven('good.index');
    for (const [i, weights] of traps.weights.entries())
      await post('/api/find/index', { weights, images: away, output: inGiven(`w${i}.index`) });
    for (const [i, source] of traps.images.entries())
      await post('/api/find/index', { weights: run, images: source, output: inGiven(`i${i}.index`) });
    await post('/api/find/map', { index });
    await settled();
    const generation = findGeneration(index);
    await send(
      'GET /api/find/map',
      `/api/find/map?generation=${generation}&index=${encodeURIComponent(index)}`,
    );
    for (const ask of [
      { kind: 'about' },
      { kind: 'images', rows: [0] },
      { kind: 'names' },
      { kind: 'labels' },
    ])
      await post('/api/find/ask', { index, ask: { generation, ...ask } });
    await send('GET /api/find/indexes', '/api/find/indexes');
    const picture = new Uint8Array(readFileSync(paths.picture));
    const { id } = JSON.parse(await send('POST /api/upload/look', '/api/upload/look', picture)) as LookUpload;
    const search = { kind: 'search', plus: [], minus: [], top: 3, region: [0, 0, 0.5, 0.5] };
    await post('/api/find/ask', { index, ask: { generation, ...search, upload: id } });
    assert.equal(statusOf(), 200, replies.at(-1)!.text);
    await send('GET /api/picture', `/api/picture?upload=${id}`);
    assert.equal(statusOf(), 200);
  });

  it('plans, tries and begins no training on what lies outside', async () => {
    const small = {
      batchSize: '4',
      epochs: '1',
      arch: 'vit',
      embedDim: '32',
      depth: '2',
      numHeads: '2',
      patchSize: '8',
    };
    const overrides = {
      ...small,
      globalCropsSize: '32',
      localCropsSize: '16',
      headHiddenDim: '32',
      outDim: '32',
      threads: '1',
    };
    const request = (source: string, more = {}) => ({
      ...{ images: source, preset: 'auto', overrides: { ...overrides, ...more } },
    });
    for (const source of traps.images) {
      await post('/api/start/inspect', { images: source });
      await post('/api/start/plan', request(source));
      await post('/api/start/crops', { ...request(source), seed: 1 });
    }
    for (const source of [inGiven('linked'), inGiven('list.txt')]) {
      await post('/api/start/trial', request(source));
      await post('/api/start/train', { ...request(source), output: inGiven('new', path.basename(source)) });
      assert.equal(statusOf(), 422, replies.at(-1)!.text);
      assert.match(replies.at(-1)!.text, /not under the folders that this studio was given/);
    }
    for (const more of [
      { init: inAway('run') },
      { init: inGiven('runs', 'teacher') },
      { knnTrain: inGiven('linked', 'folder'), knnVal: away },
      { watchImages: traps.pictures[0]! },
    ])
      await post('/api/start/plan', request(images, more));
    await settled();
    const tasks = await settled();
    await post(`/api/tasks/${tasks[0]!.id}/cancel`, {});
    asked.add('POST /api/tasks/:task/cancel');
    await post('/api/start/plan', request(images));
    assert.equal(statusOf(), 200, replies.at(-1)!.text);
  });

  it('resumes no run whose images lie outside', async () => {
    const runsNow = async () => JSON.parse(await send('GET /api/runs', '/api/runs')) as RunSummary[];
    for (const [name, source] of [
      ['folder', away],
      ['linked', inGiven('linked')],
    ] as const) {
      const forged = inGiven('runs', `forged-${name}`);
      cpSync(run, forged, { recursive: true });
      const file = path.join(forged, 'config.json');
      const config = JSON.parse(readFileSync(file, 'utf8')) as object;
      writeFileSync(file, JSON.stringify({ ...config, images: source }));
      const find = async (): Promise<RunSummary> => (await runsNow()).find((one) => one.path === forged)!;
      const { id } = await find();
      const reply = await send('POST /api/runs/:run/resume', `/api/runs/${id}/resume`);
      const status = statusOf();
      if (name === 'folder') {
        assert.equal(status, 403);
        continue;
      }
      // it holds the run for a moment before it sees that these are other images
      while (['preparing', 'running', 'waiting'].includes((await find()).state)) await sleep(100);
      const told = status === 422 ? reply : readFileSync(path.join(forged, 'studio.log'), 'utf8');
      assert.match(told, /has changed since the run in .* was started/);
    }
  });

  it('was asked through every route that it has', () => {
    const app = new Hono();
    // they are added, not asked
    for (const routes of allRoutes) routes(app, { runs: {} } as Studio);
    const all = app.routes.map(({ method, path: address }) => `${method} ${address}`);
    assert.ok(all.length > 20);
    assert.deepEqual(
      all.filter((route) => !asked.has(route)),
      [],
    );
  });

  it('has revealed nothing of the secret', () => {
    assert.ok(replies.length > 200);
    for (const { what, text } of replies)
      assert.ok(!text.includes(SECRET), `${what}: ${text.slice(0, 2000)}`);
  });

  it('has opened nothing outside', { skip: hasStrace ? false : 'no strace' }, async () => {
    child.stdin!.end();
    await once(child, 'exit');
    const opened = readFileSync(trace, 'utf8')
      .split('\n')
      .flatMap((line) => /= \d+<(\/.*?)(?: \(deleted\))?>$/.exec(line)?.[1] ?? []);
    assert.ok(
      opened.some((file) => file === paths.picture),
      'it saw what was opened',
    );
    assert.deepEqual(
      opened.filter((file) => isBelow(away, file)),
      [],
    );
    const own = fileURLToPath(new URL('../..', import.meta.url));
    const system = [
      '/usr',
      '/lib',
      '/etc',
      '/proc',
      '/sys',
      '/dev',
      path.dirname(path.dirname(process.execPath)),
    ];
    const temporary = new RegExp(`^${os.tmpdir()}/(dino-(find|trial)-|node-compile)`);
    const { libtorch } = findLibtorch(); // of a checkout, in the user's cache folder
    const allowed = [given, cache, own, realpathSync(path.join(own, 'node_modules')), ...system];
    if (libtorch !== null) allowed.push(path.dirname(libtorch.root));
    const odd = opened.filter(
      (file) => !allowed.some((folder) => isBelow(folder, file)) && !temporary.test(file),
    );
    assert.deepEqual([...new Set(odd)], []);
  });
});
