/** The data sets of the harness: folders of labelled images to train on and to read by k-NN. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { listImages } from '../../dist/index.js';
import { labelledPair } from '../../dist/eval/labelled.js';
import { gatherFacts, machineFacts } from '../../dist/train/facts.js';

/** Images whose shorter side is below this are read whole; larger ones are read at LARGE_SIDE. */
const SMALL = 64;
const LARGE_SIDE = 64;

/**
 * `NAME=TRAIN:VAL`, or `NAME=TRAIN:VAL,TRAIN:VAL` for several domains: trained on together, read one by one. A domain is
 * named after the folder that its training folder is in. `NAME@64=...` gives the side at which images are read.
 */
export function parseData(text) {
  const match = /^([\w.-]+)(?:@(\d+))?=(.+)$/.exec(text);
  if (match === null)
    throw new Error(`--data ${text}: expected NAME=TRAIN:VAL, with more TRAIN:VAL after commas`);
  const [, name, side, rest] = match;
  const pairs = rest.split(',').map((pair) => {
    const at = pair.lastIndexOf(':');
    if (at <= 0 || at === pair.length - 1) throw new Error(`--data ${text}: ${pair}: expected TRAIN:VAL`);
    const [train, val] = [pair.slice(0, at), pair.slice(at + 1)].map((folder) => path.resolve(folder));
    return { name: path.basename(path.dirname(train)), train, val };
  });
  if (pairs.length === 1) pairs[0].name = name;
  const names = pairs.map((pair) => pair.name);
  if (new Set(names).size < names.length)
    throw new Error(`--data ${text}: two domains are named ${names.join(', ')}`);
  return { name, side: side === undefined ? null : Number(side), pairs };
}

/**
 * Lists the images of a data set. Writes images.json for the programs that read them (`train`, and for each of `pairs` its
 * `train` and `val` as [path, class]), and for several domains train.txt, the list to train on.
 */
export async function prepare({ name, side, pairs }, out) {
  const folder = path.join(out, 'data', name);
  mkdirSync(folder, { recursive: true });
  const listed = [];
  for (const pair of pairs) {
    const { train, val, inTrain } = await labelledPair(pair.train, pair.val);
    listed.push({
      name: pair.name,
      train: [...train.items].map((item) => [item.path, item.label]),
      val: [...val.items].map((item) => [item.path, inTrain[item.label]]),
    });
  }
  const train = listed.flatMap((pair) => pair.train.map(([file]) => file));
  const list = await listImages(pairs[0].train);
  const { width, height } = await gatherFacts(list.items, machineFacts('cpu'));
  const shorter = Math.min(width, height);
  const file = path.join(folder, 'images.json');
  writeFileSync(file, JSON.stringify({ train, pairs: listed }));
  let source = pairs[0].train;
  if (pairs.length > 1) {
    source = path.join(folder, 'train.txt');
    writeFileSync(source, train.map((each) => `${each}\n`).join(''));
  }
  return {
    name,
    source,
    folders: pairs.map((pair) => pair.train),
    file,
    images: train.length,
    width,
    height,
    side: side ?? (shorter < SMALL ? shorter : LARGE_SIDE),
    domains: listed.map((pair) => pair.name),
  };
}
