/** Mutants of an index: see fuzz-folder.ts. Its checksums are corrected after most changes, so that later checks are reached. */
import { createHash } from 'node:crypto';
import { cpSync, lstatSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { buildIndex } from '../explore/build-index.js';
import { labelImages } from '../explore/labels.js';
import { ImageIndex } from '../explore/image-index.js';
import { keepMap, layoutMap } from '../explore/map.js';
import { loadModel } from '../model.js';
import { type FolderFuzzOptions, type FolderFuzzResult, fuzzFolder } from './fuzz-folder.js';
import { below, choose, type Random } from './random.js';
import { writeColourFolders, writeTinyRun } from './saved-run.js';

/** A file's bytes; null if it must not be changed any more: a link, a FIFO, a sparse file of 64 GiB. */
function bytesOf(folder: string, name: unknown): Buffer | null {
  if (typeof name !== 'string' || name.includes('\0')) return null;
  const file = path.join(folder, name);
  const stat = lstatSync(file, { throwIfNoEntry: false });
  return stat?.isFile() === true && stat.nlink === 1 && stat.size < 2 ** 30 ? readFileSync(file) : null;
}

interface Manifest {
  width: number;
  images: { count: number; nextId: number };
  files: Record<string, { name?: unknown; bytes?: unknown; sha256?: unknown } | null>;
}

/** Changes index.json if it is still valid JSON. */
function changeManifest(folder: string, change: (manifest: Manifest) => void): void {
  const text = bytesOf(folder, 'index.json');
  if (text === null) return;
  try {
    const manifest = JSON.parse(text.toString()) as Manifest;
    change(manifest);
    writeFileSync(path.join(folder, 'index.json'), JSON.stringify(manifest));
  } catch {
    // already changed
  }
}

/** Updates sizes and checksums in index.json to match the files. */
const mend = (folder: string): void =>
  changeManifest(folder, ({ files }) => {
    for (const file of Object.values(files)) {
      const bytes = bytesOf(folder, file?.name);
      if (file === null || bytes === null) continue;
      file.bytes = bytes.length;
      file.sha256 = createHash('sha256').update(bytes).digest('hex');
    }
  });

const graphOf = (folder: string): string | undefined =>
  readdirSync(folder).find((name) => /^vectors-\d+\.usearch$/.test(name));

/** Changes bytes after the vectors, which hold the graph's structure: header, levels, nodes. */
function changeGraph(folder: string, random: Random): void {
  const name = graphOf(folder);
  const bytes = bytesOf(folder, name);
  if (bytes === null || bytes.length < 8) return;
  const rows = bytes.readUInt32LE(0);
  const start = 8 + rows * bytes.readUInt32LE(4);
  if (start >= bytes.length) return;
  const graph = start + 64;
  const nodes = graph + 40 + 2 * rows;
  const place = choose(random, [
    below(random, 8),
    start + below(random, 64),
    graph + 8 * below(random, 5),
    graph + 40 + 2 * below(random, rows),
    nodes + 142 * below(random, rows),
    nodes + 142 * below(random, rows) + 8,
    nodes + 142 * below(random, rows) + 10 + 4 * below(random, 33),
    start + below(random, bytes.length - start),
  ]);
  if (place + 4 > bytes.length) return;
  const near = [rows, rows - 1, rows + 1, 32, 33, 16, 17];
  const extremes = [0, 1, 2, 0x7f, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];
  if (random() < 0.5) bytes.writeUInt32LE(choose(random, [...near, ...extremes]), place);
  else bytes.writeUInt16LE(choose(random, [...near, ...extremes]) & 0xffff, place);
  writeFileSync(path.join(folder, name!), bytes);
}

/** Sizes in index.json that are consistent with each other but not with the files. */
const changeCounts = (folder: string, random: Random): void =>
  changeManifest(folder, (manifest) => {
    const factor = choose(random, [2, 0.5, 1000, 2 ** 20, 2 ** 40]);
    if (random() < 0.7) manifest.images.count = Math.max(1, Math.round(manifest.images.count * factor));
    if (random() < 0.7) manifest.width = Math.max(1, Math.round(manifest.width / factor));
    if (random() < 0.3) manifest.images.nextId = choose(random, [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32]);
  });

/** Sets the last image's id to an extreme value, in the list of images and in the graph. */
function changeIds(folder: string, random: Random): void {
  const lines = bytesOf(folder, 'images-0.jsonl')?.toString().trim().split('\n') ?? [];
  const id = choose(random, [2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1]);
  try {
    lines.push(JSON.stringify({ ...(JSON.parse(lines.pop()!) as object), id }));
  } catch {
    return; // already changed
  }
  writeFileSync(path.join(folder, 'images-0.jsonl'), lines.map((line) => `${line}\n`).join(''));
  changeManifest(folder, (manifest) => (manifest.images.nextId = id + 1));
  const name = graphOf(folder);
  const bytes = bytesOf(folder, name);
  if (bytes === null || bytes.length < 142) return;
  bytes.writeBigUInt64LE(BigInt(id), bytes.length - 142);
  writeFileSync(path.join(folder, name!), bytes);
}

/** A small index of plain images, with a map and labels, and its sources, slightly changed since. */
async function writeIndex(folder: string): Promise<{ index: string; run: string; images: string }> {
  const [index, run, images] = ['index', 'run', 'images'].map((name) => path.join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeTinyRun(run);
  await writeColourFolders(images, 24, 34);
  writeFileSync(path.join(images, 'red', 'broken.png'), 'no image');
  using model = loadModel(run, { device: 'cpu' });
  await buildIndex(model, images, { output: index, numWorkers: 0, whiten: 'pca', weights: { given: run } });
  using opened = ImageIndex.open(index);
  await keepMap(opened, await layoutMap(opened));
  labelImages(opened, [0, 1, 2], 'blue');
  labelImages(opened, [30, 31], 'green');
  labelImages(opened, [2], null);
  // an update removes some images and adds some
  const image = (name: string): string => path.join(images, 'green', name);
  for (const number of [5, 9]) rmSync(image(`green ${number}.png`));
  for (const number of [1, 2, 3]) cpSync(image(`green ${number}.png`), image(`new ${number}.png`));
  return { index, run, images };
}

/** Mutates an index and reads each mutant in every way. */
export async function fuzzIndex(
  folder: string,
  options: Pick<FolderFuzzOptions, 'count' | 'seed' | 'onFailure'>,
): Promise<FolderFuzzResult> {
  const { index, run, images } = await writeIndex(folder);
  process.env['FUZZ_RUN'] = run;
  process.env['FUZZ_IMAGES'] = images;
  return fuzzFolder({
    folder: index,
    // without hostile locks, which make a writer wait for a minute: src/files/folder-lock.test.ts tests them
    files: readdirSync(index),
    reader: new URL('./read-index.js', import.meta.url),
    mend,
    changes: [changeGraph, changeGraph, changeGraph, changeCounts, changeIds],
    scratch: path.join(folder, 'scratch'),
    ...options,
  });
}
