/**
 * The demo's image set: scenes of 10 kinds of objects, so that there are labels (for k-NN; training never sees them) and
 * ground-truth masks (for the attention maps' Jaccard) without any download:
 *
 *   ROOT/train/<kind>/000.png ...   what the model trains on
 *   ROOT/val/<kind>/000.png ...     what k-NN classifies and attention maps are made from
 *   ROOT/masks/<kind>/000.png ...   which pixels of the val scene of the same name show the object: 255, else 0
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
import { CLUTTER, type Drawing, FOREGROUND, type Kind, KINDS, loadSprite, type Sprite } from './objects.js';
import { sceneRandom } from './random.js';
import { type Cast, drawScene, planScene } from './scene.js';

/** Incremented whenever the same options give different pixels. */
const VERSION = 3;
const STAMP = 'scenes.json';

export interface SceneSetOptions {
  /** Folder of the set; created if it doesn't exist. */
  output: string;
  /** Default 0. */
  seed?: number;
  /** Training scenes of each kind, default 400. */
  trainPerKind?: number;
  /** Validation scenes of each kind, default 80. */
  valPerKind?: number;
  /** Side in pixels, default 96. */
  size?: number;
  signal?: AbortSignal;
  /** Called after each kind with the number of scenes made so far. */
  onProgress?: (done: number, total: number) => void;
}

export interface SceneSet {
  /** Absolute path of the set. */
  root: string;
  train: string;
  val: string;
  masks: string;
  /** Names of the kinds, sorted: the class folders. */
  classes: readonly string[];
  trainPerKind: number;
  valPerKind: number;
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
  const { seed = 0, trainPerKind = 400, valPerKind = 80, size = 96, signal, onProgress } = options;
  const root = resolve(options.output);
  const set: SceneSet = {
    root,
    train: join(root, 'train'),
    val: join(root, 'val'),
    masks: join(root, 'masks'),
    classes: KINDS.map(({ name }) => name),
    trainPerKind,
    valPerKind,
    size,
    reused: false,
  };
  const stamp = JSON.stringify({
    version: VERSION,
    seed,
    trainPerKind,
    valPerKind,
    size,
    kinds: KINDS,
    clutter: CLUTTER,
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
    const perKind = trainPerKind + valPerKind;
    const casting = await castOf();
    for (const [index, kind] of KINDS.entries()) {
      const cast = await casting(kind);
      for (const part of ['train', 'val', 'masks']) {
        await mkdir(join(temporary, part, kind.name), { recursive: true });
      }
      const drawOne = async (i: number): Promise<void> => {
        const random = sceneRandom(seed, index, i);
        const { rgb, mask } = drawScene(planScene(cast, random), size, random);
        const isTrain = i < trainPerKind;
        const name = `${String(isTrain ? i : i - trainPerKind).padStart(3, '0')}.png`;
        await writePng(join(temporary, isTrain ? 'train' : 'val', kind.name, name), rgb, size, 3);
        if (!isTrain) await writePng(join(temporary, 'masks', kind.name, name), mask, size, 1);
      };
      // a few at a time: sharp encodes on libuv's threads while the next ones are drawn
      for (let start = 0; start < perKind; start += 8) {
        signal?.throwIfAborted();
        const some = Array.from({ length: Math.min(8, perKind - start) }, (_, k) => drawOne(start + k));
        await Promise.all(some);
      }
      onProgress?.((index + 1) * perKind, KINDS.length * perKind);
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

/** Reads the drawings, those that all kinds share once. */
async function castOf(): Promise<(kind: Kind) => Promise<Cast>> {
  const load = (drawings: readonly Drawing[]): Promise<Sprite[]> => Promise.all(drawings.map(loadSprite));
  const clutter = await load(CLUTTER);
  const foreground = clutter.filter((_, i) => FOREGROUND.includes(CLUTTER[i]!.name));
  return async ({ name, drawings, stands, hues }) => ({
    drawings: await load(drawings.map((code) => ({ name, code }))),
    ...{ stands, hues, clutter, foreground },
  });
}

/** PNG compression level 3: noise hardly compresses, so a higher level would gain little. */
async function writePng(path: string, pixels: Uint8Array, size: number, channels: 1 | 3): Promise<void> {
  await sharp(pixels, { raw: { width: size, height: size, channels } })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .png({ compressionLevel: 3 })
    .toFile(path);
}
