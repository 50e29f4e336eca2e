/** A log that grows gives the same as one that is read at once. */
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { MetricsLog } from './metrics-log.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-metrics-log-'));
after(() => rmSync(folder, { recursive: true }));

const options = { imagesPerStep: 4, monitor: null };
const line = (step: number): string =>
  `${JSON.stringify({ step, loss: Math.round(1e6 * Math.cos(step)) / 1e6, imagesPerSecond: 10 + (step % 3) })}\n`;

/** All lines, from a log that has not read any before. */
async function afresh(file: string) {
  const log = new MetricsLog(file, options);
  await log.advance();
  return log.readBlocks(0, log.blocks);
}

test('lines that were read piece by piece are those of a log that reads them all', async () => {
  const file = path.join(folder, 'metrics.jsonl');
  writeFileSync(file, '');
  const log = new MetricsLog(file, options);
  let step = 0;
  for (const added of [1, 5, 20, 3, 16, 70, 1]) {
    for (let i = 0; i < added; i++) appendFileSync(file, line(++step));
    if (added === 3) appendFileSync(file, `{"step":${step},"top1":{"20":50}}\n[]\n${line(step - 1)}`);
    await log.advance();
    const lines = await log.readBlocks(0, log.blocks);
    assert.equal(lines.length, step);
    assert.deepEqual(lines, await afresh(file));
  }
  // others in between, and fewer
  const later = await log.readBlocks(2, log.blocks);
  assert.deepEqual(later, (await afresh(file)).slice(32));
  assert.deepEqual(await log.readBlocks(2, 4), later.slice(0, 32));
  assert.deepEqual(await log.readBlocks(0, 1), (await afresh(file)).slice(0, 16));
});

test('of a file that was cut and then grew differently, nothing old is left', async () => {
  const file = path.join(folder, 'cut.jsonl');
  writeFileSync(file, Array.from({ length: 40 }, (_, i) => line(i + 1)).join(''));
  const log = new MetricsLog(file, options);
  await log.advance();
  await log.readBlocks(0, log.blocks);
  writeFileSync(file, Array.from({ length: 20 }, (_, i) => line(2 * i + 1)).join(''));
  await log.advance();
  const lines = await log.readBlocks(0, log.blocks);
  assert.deepEqual(
    lines.map(({ step }) => step),
    Array.from({ length: 20 }, (_, i) => 2 * i + 1),
  );
  assert.deepEqual(lines, await afresh(file));
});

test('the newest line is that of a step, also when an evaluation or damage follows it', async () => {
  const file = path.join(folder, 'last.jsonl');
  writeFileSync(file, line(1) + line(2) + '{"step":2,"top1":{"20":50}}\n');
  const log = new MetricsLog(file, options);
  await log.advance();
  assert.deepEqual(log.last(), { step: 2, values: { loss: -0.416147, imagesPerSecond: 12 } });
  appendFileSync(file, '{"step":3,"los\n');
  await log.advance();
  assert.equal(log.last()?.step, 2);
  assert.equal(Object.keys(log.last()!.values).length, 2);
  assert.deepEqual(log.names, ['loss', 'imagesPerSecond'], 'an evaluation has no curve of its own');
});
