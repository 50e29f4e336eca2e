/** What the server learns about a run from its folder, and when it sends it to pages. */
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, mock, test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { appendLine } from '../files/json-lines.js';
import { evaluationsPath, metricsPath, skippedPath, writeRunConfig } from '../run/run-folder.js';
import type { StudioEvent } from '../plain/studio-api/index.js';
import { EventHub } from './event-hub.js';
import { GivenFolders } from './files.js';
import { Run } from './run.js';
import { detailsMarkOf, detailsOf } from './run-details.js';
import { RunWatcher } from './run-watcher.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-run-watcher-'));
after(() => rmSync(folder, { recursive: true }));

/** A run of two processes with 10 images each, of which the line of one step is there. */
function makeRun(name: string, step: number): string {
  const run = path.join(folder, name);
  mkdirSync(run);
  writeRunConfig(run, {
    ...{ version: '0', images: folder, imageCount: 100, fingerprint: 'f', processes: 2 },
    settings: { ...TINY_SETTINGS, batchSize: 10, epochs: 3 },
  });
  appendLine(metricsPath(run), { step, imagesPerSecond: 20 });
  return run;
}

test('the batches of a run in several processes count the images of all of them', async () => {
  const run = makeRun('finished', 15);
  const found = new Run(run, 'run');
  await found.look();
  assert.equal(found.summary.stepsPerEpoch, 5);
  assert.equal(found.summary.totalSteps, 15);
  assert.equal(found.summary.state, 'finished');
});

test('a run has its settings as soon as it is found; changed ones are read with its curves', async () => {
  const run = makeRun('again', 3);
  const watcher = new RunWatcher(new GivenFolders([run]), new EventHub());
  await watcher.scan();
  const found = watcher.all()[0]!;
  await watcher.read(found);
  assert.equal(found.log().elapsed, 3, '3 steps of 20 images, at 20 images a second');

  writeRunConfig(run, { ...found.config!, processes: 1 });
  await found.look();
  assert.ok(found.isRead);
  await watcher.read(found);
  assert.equal(found.log().elapsed, 1.5);

  // in the middle of a reading
  appendLine(metricsPath(run), { step: 4, imagesPerSecond: 20 });
  writeRunConfig(run, { ...found.config!, processes: 4 });
  const reading = watcher.read(found);
  await found.look();
  await reading;
  await watcher.read(found);
  assert.equal(found.log().elapsed, 8);
});

test('an image that several sessions have skipped is one, and parts of a shard are several', async () => {
  const run = makeRun('skipping', 3);
  const line = { path: 'a.png', reason: 'damaged' };
  const part = { path: 'b.tar', offset: 512, reason: 'cut off' };
  for (const one of [line, part, line, { ...part, offset: 1024 }, line]) appendLine(skippedPath(run), one);
  appendFileSync(skippedPath(run), 'half\n');
  const { skipped } = await detailsOf(new Run(run, 'run'));
  assert.equal(skipped.count, 4);
  assert.deepEqual(
    skipped.first.map((one) => one.path),
    ['a.png', 'b.tar', 'b.tar', 'line 6 of skipped.jsonl'],
  );
});

/** Listens as a page does, to the end of the test. */
function listen(t: TestContext, events: EventHub) {
  const told: StudioEvent[] = [];
  const end = events.listen((event) => told.push(event));
  t.after(() => {
    end();
    mock.reset();
  });
  const until = async (isIt: (event: StudioEvent) => boolean): Promise<void> => {
    const limit = performance.now() + 10_000;
    while (!told.some(isIt) && performance.now() < limit) await sleep(50);
    assert.ok(told.some(isIt), JSON.stringify(told));
  };
  return { told, until };
}

/** A run that was read for a page, which listens to it. @param first - Its first step. */
async function openPage(t: TestContext, name: string, first: number) {
  const run = makeRun(name, first);
  const events = new EventHub();
  const watcher = new RunWatcher(new GivenFolders([run]), events);
  await watcher.refresh();
  const found = watcher.all()[0]!;
  await watcher.read(found);
  return { run, found, ...listen(t, events) };
}

test('new lines and a removed run are reported while a slow disk is still being searched', async (t) => {
  const [growing, gone] = [makeRun('growing', 3), makeRun('gone', 3)];
  const events = new EventHub();
  const watcher = new RunWatcher(new GivenFolders([growing, gone]), events);
  await watcher.refresh();
  for (const run of watcher.all()) await watcher.read(run);
  const { id } = watcher.all().find(({ path: folder }) => folder === growing)!;
  mock.method(watcher, 'scan', () => new Promise<void>(() => {}));
  const { until } = listen(t, events);
  appendLine(metricsPath(growing), { step: 4, imagesPerSecond: 20 });
  await until((event) => event.type === 'metrics' && event.run === id && event.tail?.now.lines === 2);
  rmSync(gone, { recursive: true });
  await until((event) => event.type === 'runs' && event.runs.every((run) => run.id === id));
});

test('a run whose curves were dropped still reports new lines', async (t) => {
  const { run, found, told, until } = await openPage(t, 'quiet', 3);
  mock.timers.enable({ apis: ['Date'], now: Date.now() + 3_600_000 });
  appendLine(metricsPath(run), { step: 4, imagesPerSecond: 20 });
  await until(({ type }) => type === 'metrics');
  assert.deepEqual(
    told.filter(({ type }) => type === 'metrics'),
    [{ type: 'metrics', run: found.id, tail: null }],
  );
});

test('an evaluation is reported once, without new lines, and also when the curves were dropped', async (t) => {
  const { run, found, told, until } = await openPage(t, 'evaluated', 15);
  const tails = () => told.flatMap((event) => (event.type === 'metrics' ? [event.tail] : []));
  await sleep(2500); // all is looked at once in two seconds
  assert.deepEqual(tails(), []);
  mkdirSync(evaluationsPath(run));
  writeFileSync(path.join(evaluationsPath(run), 'knn.json'), '{}');
  await until(({ type }) => type === 'metrics');
  await sleep(2500);
  assert.equal(tails().length, 1);
  assert.equal(tails()[0]!.now.detailsMark, await detailsMarkOf(found));

  const start = Date.now();
  mock.timers.enable({ apis: ['Date'], now: start });
  for (const minutes of [6, 12]) {
    assert.ok(found.isRead);
    mock.timers.setTime(start + minutes * 60_000);
    await sleep(2500);
  }
  assert.ok(!found.isRead, 'no page has asked for 12 minutes');
  writeFileSync(path.join(evaluationsPath(run), 'linear.json'), '{}');
  await until((event) => event.type === 'metrics' && event.tail === null);
  assert.ok(!found.isRead);
});
