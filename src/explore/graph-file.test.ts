/** Graphs that an attacker wrote: what would lead USearch out of its file is refused before it opens it. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { DataError } from '../errors.js';
import { clusteredRows } from '../testing/feature-index.js';
import { areSpread, checkGraphFile, fitsRoom } from './graph-file.js';
import { VectorIndex } from './vector-index.js';

const WIDTH = 8;
const COUNT = 400;
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-graph-'));
after(() => rmSync(folder, { recursive: true }));
const ids = Int32Array.from({ length: COUNT }, (_, i) => i);
const rows = clusteredRows(COUNT, WIDTH, 5, 0.8);
const file = path.join(folder, 'good.usearch');
const good = async (): Promise<Buffer> => {
  const vectors = new VectorIndex(WIDTH);
  await vectors.add(ids, rows);
  vectors.save(file);
  return readFileSync(file);
};
const check = (bytes: Buffer, wanted = ids): number => {
  const place = path.join(folder, 'changed.usearch');
  writeFileSync(place, bytes);
  return checkGraphFile(place, { within: folder, width: WIDTH, ids: wanted });
};

/** Where things are in the file. */
const head = 8 + COUNT * 2 * WIDTH;
const graph = head + 64;
const levels = graph + 40;
const nodes = levels + 2 * COUNT;
/** The place of each node, by the levels that the file says. */
const placesOf = (bytes: Buffer): number[] => {
  let at = nodes;
  return Array.from({ length: COUNT }, (_, node) => {
    const place = at;
    at += 10 + 132 + 68 * bytes.readInt16LE(levels + 2 * node);
    return place;
  });
};

describe('a graph’s file', () => {
  it('is taken as it was written, also with removed vectors and after additions', async () => {
    assert.equal(check(await good()), COUNT);
    const vectors = new VectorIndex(WIDTH);
    await vectors.add(ids, rows);
    vectors.remove(ids.subarray(0, 50));
    vectors.save(file);
    const left = ids.subarray(50);
    const about = { within: folder, width: WIDTH, ids: left, writable: true };
    const again = VectorIndex.open(file, about);
    assert.deepEqual([again.size, again.nodes], [350, COUNT]);
    again.remove(Int32Array.of(60));
    await again.add(Int32Array.of(1000), rows.subarray(0, WIDTH));
    again.save(file);
    const now = Int32Array.from([...left].filter((id) => id !== 60).concat(1000));
    const viewed = VectorIndex.open(file, { ...about, ids: now, writable: false });
    assert.equal(viewed.search(rows.subarray(0, WIDTH), 1)[0], 1000);
  });

  it('is refused for every number of it that is not what it must be', async () => {
    const bytes = await good();
    const places = placesOf(bytes);
    const high = places.findIndex((_, node) => bytes.readInt16LE(levels + 2 * node) > 0);
    const low = places.findIndex((_, node) => bytes.readInt16LE(levels + 2 * node) === 0);
    assert.ok(high >= 0 && low >= 0);
    const u32 = (at: number, value: number) => (copy: Buffer) => copy.writeUInt32LE(value, at);
    const u16 = (at: number, value: number) => (copy: Buffer) => copy.writeUInt16LE(value, at);
    const changes: [string, (copy: Buffer) => unknown][] = [
      ['rows', u32(0, COUNT - 1)],
      ['more rows', u32(0, 0xffffffff)],
      ['columns', u32(4, 2 * WIDTH + 2)],
      ['magic', u16(head, 0)],
      ['version', u16(head + 7, 3)],
      ['an old version, whose kinds are read anew', u16(head + 9, 9)],
      ['metric', (copy) => (copy[head + 13] = 'h'.charCodeAt(0))],
      ['scalar', (copy) => (copy[head + 14] = 10)],
      ['key', (copy) => (copy[head + 15] = 3)],
      ['slot', (copy) => (copy[head + 16] = 2)],
      ['present', u32(head + 17, COUNT + 1)],
      ['present, high half', u32(head + 21, 1)],
      ['removed', u32(head + 25, 1)],
      ['dimensions', u32(head + 33, 2 * WIDTH)],
      ['multi', (copy) => (copy[head + 41] = 2)],
      ['size', u32(graph, COUNT + 1)],
      ['size 0', u32(graph, 0)],
      ['links', u32(graph + 8, 17)],
      ['links of the base', u32(graph + 16, 1000)],
      ['highest level', u32(graph + 24, 30)],
      ['highest level, high half', u32(graph + 28, 0x80000000)],
      ['entry', u32(graph + 32, COUNT)],
      ['an entry of a low level', u32(graph + 32, low)],
      ['a level', u16(levels + 2 * low, 1)],
      ['a negative level', u16(levels + 2 * high, 0xffff)],
      ['the level in a node', u16(places[low]! + 8, 1)],
      ['a removed key', (copy) => copy.fill(0xff, places[3], places[3]! + 8)],
      ['a key twice', u32(places[3]!, 4)],
      ['a large key', u32(places[3]! + 4, 1)],
      ['too many links', u32(places[3]! + 10, 33)],
      ['a link to no node', u32(places[3]! + 14, COUNT)],
      ['a link to no slot', u32(places[3]! + 14, 0xffffffff)],
      ['too many links above', u32(places[high]! + 142, 17)],
      [
        'a link above to a node below',
        (copy) => {
          copy.writeUInt32LE(1, places[high]! + 142);
          copy.writeUInt32LE(low, places[high]! + 146);
        },
      ],
    ];
    for (const [what, change] of changes) {
      const copy = Buffer.from(bytes);
      change(copy);
      assert.notDeepEqual(copy, bytes, what);
      assert.throws(() => check(copy), DataError, what);
    }
    for (const length of [0, 7, 8, head, graph + 8, levels, nodes + 5, bytes.length - 1])
      assert.throws(() => check(bytes.subarray(0, length)), DataError, `cut at ${length}`);
    assert.throws(() => check(Buffer.concat([bytes, Buffer.alloc(1)])), DataError);
    assert.throws(() => check(bytes, ids.subarray(1)), DataError);
  });

  it('holds no more removed vectors than USearch has room for', async () => {
    // 1,024 places in its table of keys, two thirds of which are used: addresses of 1,365 vectors
    assert.deepEqual([fitsRoom(1365, 1000), fitsRoom(1366, 1000)], [true, false]);
    const count = 1600;
    const many = Int32Array.from({ length: count }, (_, i) => i);
    const vectors = new VectorIndex(WIDTH);
    await vectors.add(many, clusteredRows(count, WIDTH, 5, 0.8));
    vectors.remove(many.subarray(0, 600));
    vectors.save(file);
    const about = { within: folder, width: WIDTH, ids: many.subarray(600), writable: false };
    assert.throws(() => VectorIndex.open(file, about), /too many were removed/);
  });

  it('has ids that are found at once, not behind all others', () => {
    assert.equal(areSpread(Int32Array.from({ length: 100_000 }, (_, i) => i)), true);
    assert.equal(areSpread(Int32Array.from({ length: 100_000 }, (_, i) => 7 * i + (i % 3))), true);
    // 262,144 places: these ask for twelve of them
    const close = Int32Array.from({ length: 100_000 }, (_, i) => (i % 8000) * 262_144 + Math.floor(i / 8000));
    assert.equal(areSpread(close.sort()), false);
    const end = Int32Array.from({ length: 30 }, (_, i) => 64 * i + 63);
    assert.equal(areSpread(end), true); // few, however close
  });
});
