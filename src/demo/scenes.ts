/**
 * The demo's image set: scenes of 20 objects, so that there are labels (for k-NN; training never sees them) and
 * ground-truth masks (for the attention maps' Jaccard) without any download:
 *
 *   ROOT/train/<object>/000.png ...   what the model trains on
 *   ROOT/val/<object>/000.png ...     what k-NN classifies and attention maps are made from
 *   ROOT/masks/<object>/000.png ...   which pixels of the val scene of the same name show the object: 255, else 0
 *   ROOT/scenes.json                  what it was made with; written last
 *
 * A set is made in a temporary folder and renamed, so it is either complete or absent; a set that was made with the same
 * options is reused.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import sharp from 'sharp';
import { DataError } from '../errors.js';
import { loadSprite, OBJECTS } from './objects.js';
import { drawScene, planScene, type Random } from './scene.js';

/** Incremented whenever the same options give different pixels. */
const VERSION = 2;
const STAMP = 'scenes.json';

export interface SceneSetOptions {
  /** Folder of the set; created if it doesn't exist. */
  output: string;
  /** Default 0. */
  seed?: number;
  /** Training scenes of each object, default 200. */
  trainPerObject?: number;
  /** Validation scenes of each object, default 50. */
  valPerObject?: number;
  /** Side in pixels, default 64. */
  size?: number;
  signal?: AbortSignal;
  /** Called after each object with the number of scenes made so far. */
  onProgress?: (done: number, total: number) => void;
}

export interface SceneSet {
  /** Absolute path of the set. */
  root: string;
  train: string;
  val: string;
  masks: string;
  /** Names of the objects, sorted: the class folders. */
  classes: readonly string[];
  trainPerObject: number;
  valPerObject: number;
  size: number;
  /** Nothing was made, because the same set already existed. */
  reused: boolean;
}

/**
 * Makes the image set, or reuses an existing one.
 *
 * @throws DataError when the drawings are missing, or when `output` contains something other than a set of scenes.
 */
export async function makeScenes(options: SceneSetOptions): Promise<SceneSet> {
  const { seed = 0, trainPerObject = 200, valPerObject = 50, size = 64, signal, onProgress } = options;
  const root = resolve(options.output);
  const set: SceneSet = {
    root,
    train: join(root, 'train'),
    val: join(root, 'val'),
    masks: join(root, 'masks'),
    classes: OBJECTS.map(({ name }) => name),
    trainPerObject,
    valPerObject,
    size,
    reused: false,
  };
  const stamp = JSON.stringify({
    version: VERSION,
    seed,
    trainPerObject,
    valPerObject,
    size,
    objects: OBJECTS,
  });
  if (existsSync(root)) {
    const before = await readFile(join(root, STAMP), 'utf8').catch(() => null);
    if (before === stamp) return { ...set, reused: true };
    if (before === null) {
      throw new DataError(
        `${root} exists and is not a set of scenes. Choose a folder that doesn't exist yet.`,
      );
    }
  }

  const temporary = `${root}.${process.pid}.partial`;
  await rm(temporary, { recursive: true, force: true });
  try {
    const perObject = trainPerObject + valPerObject;
    for (const [index, object] of OBJECTS.entries()) {
      const sprite = await loadSprite(object);
      for (const part of ['train', 'val', 'masks']) {
        await mkdir(join(temporary, part, object.name), { recursive: true });
      }
      const drawOne = async (i: number): Promise<void> => {
        const random = sceneRandom(seed, index, i);
        const { rgb, mask } = drawScene(sprite, planScene(random), size, random);
        const isTrain = i < trainPerObject;
        const name = `${String(isTrain ? i : i - trainPerObject).padStart(3, '0')}.png`;
        await writePng(join(temporary, isTrain ? 'train' : 'val', object.name, name), rgb, size, 3);
        if (!isTrain) await writePng(join(temporary, 'masks', object.name, name), mask, size, 1);
      };
      // a few at a time: sharp encodes on libuv's threads while the next ones are drawn
      for (let start = 0; start < perObject; start += 8) {
        signal?.throwIfAborted();
        const some = Array.from({ length: Math.min(8, perObject - start) }, (_, k) => drawOne(start + k));
        await Promise.all(some);
      }
      onProgress?.((index + 1) * perObject, OBJECTS.length * perObject);
    }
    await writeFile(join(temporary, STAMP), stamp);
    await rm(root, { recursive: true, force: true }); // an older set: its stamp was read above
    await mkdir(dirname(root), { recursive: true });
    await rename(temporary, root);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  return set;
}

/** PNG compression level 3: noise hardly compresses, so a higher level would gain little. */
async function writePng(path: string, pixels: Uint8Array, size: number, channels: 1 | 3): Promise<void> {
  await sharp(pixels, { raw: { width: size, height: size, channels } })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .png({ compressionLevel: 3 })
    .toFile(path);
}

/**
 * A separate generator for every scene, from seed, object and number, so that no scene depends on which others are made:
 * SplitMix32 seeded with a hash of the three.
 */
export function sceneRandom(seed: number, object: number, index: number): Random {
  let state = mix32((mix32((mix32(seed ^ 0x9e3779b9) + object) | 0) + index) | 0);
  return () => {
    state = (state + 0x9e3779b9) | 0;
    return mix32(state) / 2 ** 32;
  };
}

/** The finalizer of MurmurHash3: every bit of the input changes half of the output's. Result in [0, 2^32). */
function mix32(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
