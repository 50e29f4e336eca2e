/**
 * Makes an index of a folder of images, or brings one up to date: new and changed images are embedded, missing ones are
 * dropped, the rest stays. Changed means that the file's size or time differs. The work done so far is saved every few
 * minutes, and when it is interrupted, unless everything is embedded again: then the old index stays until the new one is
 * complete.
 *
 * Features are stored as the network gives them; the transform they are compared through is fitted when all are there, and
 * again when more than a fifth of the images it was fitted to have changed. Until then images that are added go through the
 * transform that the index has, as the others and the queries do.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { listSource } from '../data/arguments.js';
import { anyModelArgument } from '../models/model-argument.js';
import {
  callback,
  checkCall,
  count,
  filePath,
  finite,
  oneOf,
  optionsOf,
  signal as abortSignal,
  text,
} from '../plain/check-options.js';
import {
  firstSkipped,
  type ImageItem,
  type ImageList,
  listImages,
  type ListNotes,
  notesOf,
  skippedPlace,
} from '../data/index.js';
import { INDEX_FILE } from '../data/list/own-index.js';
import { evalSizes } from '../plain/eval-geometry.js';
import { chooseTransform } from '../eval/choose-transform.js';
import { PRECISION_CHOICES, type PrecisionChoice } from '../plain/precisions.js';
import type { ChosenPrecision } from '../eval/feature-precision.js';
import { featureBatches } from '../eval/features.js';
import { sha256Files } from '../files/checksum.js';
import { ConfigError, DataError } from '../errors.js';
import { lockFolder } from '../files/folder-lock.js';
import { kindOf } from '../files/guarded.js';
import type { Model } from '../model.js';
import { type TransformMode, WHITEN_CHOICES, type WhitenChoice } from '../plain/feature-transform.js';
import { unitRows } from '../plain/maps.js';
import { isUnit } from './feature-file.js';
import { ImageIndex } from './image-index.js';
import {
  type ChosenMode,
  commitIndex,
  draftOf,
  emptyDraft,
  fitDraft,
  type IndexDraft,
  needsFit,
  placeRows,
} from './index-draft.js';
import {
  INDEX_FEATURES,
  type IndexFeatures,
  type IndexManifest,
  manifestPath,
  nameBelow,
  readIndexedImages,
  readManifest,
  readSkippedImages,
  remake,
} from './index-format.js';
import { type Plan, planOf, repeatedLines, rootNow, rootOf } from './index-plan.js';
import { moveLabels, unmatchedLine } from './labels.js';

/** Seconds between two writings of what was embedded. */
const SAVE_EVERY = 300;
/** How many images' approximate neighbours are compared with exact ones at the end. */
const CHECKED = 200;

export interface BuildIndexOptions {
  /** The index folder. */
  output: string;
  /** `cls`: the class token. `patch-mean`: the mean of the patch tokens. Default: that of the index, cls for a new one. */
  features?: IndexFeatures;
  /**
   * How features are centred or whitened before they are compared, fitted to the index's own images. `auto` (default)
   * chooses by how well images are found by another view of them; an index that exists keeps what it was made with.
   */
  whiten?: WhitenChoice;
  /** As in EmbedOptions; default: those of the index, unless it was made by another architecture. */
  resize?: number;
  crop?: number;
  /** As in EmbedOptions; default: that of the index, fp32 for a new one. Another one by name embeds everything again. */
  precision?: PrecisionChoice;
  /** Called with what `auto` chose. */
  onPrecision?: (choice: ChosenPrecision) => void;
  /** Default 64. */
  batchSize?: number;
  /** Loader workers; default 1. */
  numWorkers?: number;
  /** How the model was loaded, so that a search can load it again; default: its file, the teacher. */
  weights?: { given: string; checkpointKey?: string; numHeads?: number };
  /** As in ListOptions: images that may not be read are reported with the skipped ones. */
  mayRead?: (real: string) => boolean;
  /** What has been embedded when it is aborted is kept. */
  signal?: AbortSignal | undefined;
  /** Seconds between two writings of what was embedded; default 300. */
  saveEvery?: number;
  onProgress?: (progress: { part: 'images' | 'views' | 'check'; done: number; total: number }) => void;
  /**
   * Called with the reason before all images are embedded again. The old index stays until the new one is complete, so that
   * this work begins again when it is interrupted.
   */
  onRebuild?: (reason: string) => void;
  /** Called when it waits, at most a minute, to see whether another process is still writing the index. */
  onWait?: (message: string) => void;
}

export interface BuildIndexResult extends ListNotes {
  index: string;
  /** Images in the index. */
  images: number;
  /** New ones. */
  added: number;
  /** Embedded again, because the file has changed. */
  changed: number;
  /** Dropped, because the file is gone. */
  removed: number;
  /** Why everything was embedded again; null when the index was updated, or is new. */
  rebuilt: string | null;
  skipped: { path: string; reason: string }[];
  /** Entries of the list that name an image again, or lead to it by links: each image counts once. */
  repeated: number;
  width: number;
  /** How features are transformed before they are compared, and why. */
  whitening: { mode: TransformMode; reason: string };
  /** Share of the ten nearest neighbours that the approximate search finds; 1 where search is exact. */
  recall: number;
}

/** Why the old features can't be used; null when they can. */
function difference(
  old: IndexManifest,
  weights: IndexManifest['weights'],
  settings: IndexManifest['settings'],
): string | null {
  if (old.weights.sha256 !== weights.sha256) return 'the weights have changed';
  if (old.weights.checkpointKey !== weights.checkpointKey)
    return `the network was ${old.weights.checkpointKey}, now ${weights.checkpointKey}`;
  if (old.weights.numHeads !== weights.numHeads)
    return `numHeads was ${old.weights.numHeads ?? 'not given'}, now ${weights.numHeads ?? 'not given'}`;
  if (old.weights.arch !== weights.arch)
    return `the weights were taken for ${old.weights.arch}, now for ${weights.arch}`;
  for (const name of ['features', 'resize', 'crop'] as const)
    if (old.settings[name] !== settings[name])
      return `${name} was ${old.settings[name]}, now ${settings[name]}`;
  const [was, now] = [old.settings.precision, settings.precision];
  return was !== undefined && now !== undefined && was !== now ? `precision was ${was}, now ${now}` : null;
}

/** What is not asked for is as it was in the old index. */
function settingsOf(
  { architecture }: Model,
  options: BuildIndexOptions,
  old: IndexManifest | null,
): IndexManifest['settings'] {
  const { features = old?.settings.features ?? 'cls' } = options;
  if (!INDEX_FEATURES.includes(features))
    throw new ConfigError(`features ${String(features)}; expected ${INDEX_FEATURES.join(', ')}`);
  // other architectures have sizes of their own
  const was = old?.weights.arch === architecture.arch ? old.settings : null;
  const { crop = was?.crop } = options;
  const { resize = crop === was?.crop ? was?.resize : undefined } = options;
  return { features, ...evalSizes({ resize, crop }, architecture) };
}

/** @throws DataError for a place where no index can be made. */
function checkNewIndex(output: string, folder: string): void {
  if (!existsSync(folder)) return;
  const found = statSync(folder);
  if (!found.isDirectory())
    throw new DataError(`${output} is ${kindOf(found)}, not a folder: give a new folder for the index.`);
  if (readdirSync(folder).some((name) => !INDEX_FILE.test(name)))
    throw new DataError(`${output} exists and is not an index: give a new folder, or delete it.`);
}

const buildOptions = optionsOf<BuildIndexOptions>(
  { output: filePath },
  {
    ...{
      features: oneOf(INDEX_FEATURES),
      whiten: oneOf(WHITEN_CHOICES),
      resize: count(1),
      crop: count(1),
      batchSize: count(1),
    },
    ...{ precision: oneOf(PRECISION_CHOICES), onPrecision: callback },
    ...{ numWorkers: count(), mayRead: callback, signal: abortSignal, onProgress: callback },
    ...{ onRebuild: callback, onWait: callback },
    saveEvery: finite.min(0),
    weights: optionsOf<NonNullable<BuildIndexOptions['weights']>>(
      { given: filePath },
      { checkpointKey: text, numHeads: count(1) },
    ),
  },
);

/**
 * Embeds a folder of images into an index on disk, or brings that index up to date.
 *
 * @param images - A folder or a list, as listImages() takes it.
 * @throws ConfigError for options out of range, or an index of other images; DataError when there are no images, none can be read, the index is damaged,
 *   in use or can't be written; the signal's reason when aborted, after the work done so far is written.
 */
export async function buildIndex(
  model: Model,
  images: string,
  options: BuildIndexOptions,
): Promise<BuildIndexResult> {
  checkCall(
    'buildIndex()',
    anyModelArgument(model),
    ['images', listSource, images],
    ['options', buildOptions, options],
  );
  const { output, onProgress } = options;
  settingsOf(model, options, null); // checks them
  const folder = path.resolve(output);
  const listed = await listImages(images, { mayRead: options.mayRead, signal: options.signal });
  const list = { ...listed, root: rootOf(listed) };
  if (!existsSync(manifestPath(folder))) checkNewIndex(output, folder);
  const lock = await lockFolder(folder, { signal: options.signal, onWait: options.onWait });
  try {
    const weights: IndexManifest['weights'] = {
      given: path.resolve(options.weights?.given ?? model.file),
      file: path.resolve(model.file),
      sha256: sha256Files(model.origin.files),
      checkpointKey: options.weights?.checkpointKey ?? model.origin.checkpointKey,
      numHeads: options.weights?.numHeads ?? null,
      arch: model.architecture.arch,
    };
    // only now: another process may have made an index while this one waited for the lock
    const isNew = !existsSync(manifestPath(folder));
    if (isNew) checkNewIndex(output, folder);
    const old = isNew ? null : readManifest(folder);
    const settings = settingsOf(model, options, old);
    const oldRoot = old === null ? null : rootNow(folder, old, list);
    const { precision: asIndexed } = old?.settings ?? {};
    const precision =
      options.precision === undefined || options.precision === 'auto'
        ? (asIndexed ?? options.precision ?? 'fp32')
        : options.precision;
    if (precision !== 'auto') settings.precision = precision;
    const rebuilt = old === null ? null : difference(old, weights, settings);
    if (rebuilt !== null) options.onRebuild?.(rebuilt);
    const usable = rebuilt === null ? old : null;
    // what an earlier version computed stays unknown
    if (usable !== null && asIndexed === undefined) delete settings.precision;
    const onPrecision = (choice: ChosenPrecision): void => {
      if (usable === null) settings.precision = choice.precision;
      options.onPrecision?.(choice);
    };
    const oldImages = usable === null ? [] : readIndexedImages(folder, usable);
    const plan = planOf(list, usable === null ? null : { root: oldRoot!, images: oldImages });
    const oldIds = Int32Array.from(oldImages, ({ id }) => id);
    const asked = options.whiten ?? old?.whitening.asked ?? 'auto';
    const growing =
      usable === null
        ? emptyDraft(asked)
        : draftOf(folder, usable, oldIds, { ...plan, fresh: plan.fresh.length });
    for (const { path: place, reason } of list.unreadable.map(skippedPlace))
      growing.skipped.push({ path: nameBelow(list.root, place), reason });
    const generation = (old?.generation ?? -1) + 1;
    const isMoved = old !== null && (old.images.root !== list.root || old.images.source !== list.source);
    const wasSkipped = usable === null ? null : skippedOf(folder, usable);
    const keepsParts = rebuilt === null;
    const about = {
      weights,
      settings,
      list,
      folder,
      generation,
      asked,
      oldRoot,
      isMoved,
      wasSkipped,
      keepsParts,
    };
    const counts = await grow(model, plan, growing, about, { ...options, precision, onPrecision });
    const notes = notesOf(list);
    const remarks = [...notes.remarks, ...repeatedLines(list.source, plan.repeated)];
    using index = ImageIndex.open(folder);
    remarks.push(...unmatchedLine(index));
    const recall = await index.recall(CHECKED, (done, total) => onProgress?.({ part: 'check', done, total }));
    const { count, width } = index;
    const { skipped } = growing;
    const { mode, reason } = index.manifest.whitening;
    return {
      ...{ index: folder, images: count, ...counts, rebuilt, skipped, width, recall },
      repeated: plan.repeated.length,
      ...{ whitening: { mode, reason }, ...notes, remarks },
    };
  } finally {
    lock.release();
  }
}

interface About extends Pick<IndexManifest, 'weights' | 'settings' | 'generation'> {
  folder: string;
  list: ImageList;
  asked: WhitenChoice;
  /** What the names in labels.jsonl are relative to; null for a new index. */
  oldRoot: string | null;
  /** Whether the images' names, or where they are, differ from what index.json says. */
  isMoved: boolean;
  /** Whether an index of a part of the images may be written: not in place of one that is whole. */
  keepsParts: boolean;
  /** What the index says of images that can't be read; null when it says nothing. */
  wasSkipped: string | null;
}

const asText = (skipped: IndexDraft['skipped']): string =>
  skipped
    .map((each) => JSON.stringify([each.path, each.reason]))
    .sort()
    .join();

/** The images that an index says can't be read, as text; null when its list of them is damaged: it is written again. */
function skippedOf(folder: string, manifest: IndexManifest): string | null {
  try {
    return asText(readSkippedImages(folder, manifest));
  } catch (error) {
    if (error instanceof DataError) return null;
    throw error;
  }
}

/** Embeds new images, and writes every few minutes, at the end, and when aborted. */
async function grow(
  model: Model,
  plan: Plan,
  growing: IndexDraft,
  about: About,
  options: BuildIndexOptions,
): Promise<Pick<BuildIndexResult, 'added' | 'changed' | 'removed'>> {
  const { batchSize = 64, numWorkers = 1, signal, onProgress, saveEvery = SAVE_EVERY } = options;
  if (!(Number.isInteger(batchSize) && batchSize >= 1))
    throw new ConfigError(`batchSize ${batchSize}; expected at least 1`);
  const { settings, list } = about;
  let { generation } = about;
  let saved = performance.now();
  const isNew = about.generation === 0;
  let hasChanges = plan.removed.length > 0 || growing.hasNewGraph || isNew || about.isMoved;
  let labelRoot = about.oldRoot ?? list.root;
  const counts = {
    added: 0,
    changed: 0,
    removed: plan.removed.length - plan.fresh.filter(({ before }) => before).length,
  };
  const { changed: changedBefore } = growing.whitening;
  const save = async (): Promise<void> => {
    if (growing.width === null) return; // nothing could be read yet
    await placeRows(growing);
    const { vectors } = growing;
    const commit = (): unknown =>
      commitIndex(about.folder, { ...growing, vectors: vectors! }, { ...about, generation: generation++ });
    if (labelRoot === list.root) commit();
    else moveLabels(about.folder, { from: labelRoot, to: list.root, files: list.items }, commit);
    labelRoot = list.root;
    saved = performance.now();
    hasChanges = false;
  };
  const countChanges = (): void => {
    const changed = changedBefore + counts.added + counts.changed + counts.removed;
    if (growing.whitening.fittedTo > 0) growing.whitening = { ...growing.whitening, changed };
  };
  const batches = featureBatches(
    model.backbone,
    plan.fresh.map(({ item }) => item),
    {
      ...{ kind: settings.features, resize: settings.resize, crop: settings.crop },
      ...{ batchSize, numWorkers, device: model.device, signal },
      ...{ precision: options.precision, onPrecision: options.onPrecision },
    },
  );
  let done = 0;
  let withoutFeature = 0;
  try {
    for await (const { indices, features, shape, skipped } of batches) {
      done += indices.length + skipped.length;
      for (const { path: file, reason } of skipped)
        growing.skipped.push({ path: nameBelow(list.root, file), reason });
      hasChanges ||= indices.length > 0;
      if (indices.length > 0) {
        const width = shape[1]!;
        growing.width ??= width;
        if (growing.width !== width) {
          throw new DataError(
            `the features of ${about.folder} have ${growing.width} values, these weights give ${width}. ` +
              remake(about.folder),
          );
        }
        const all = unitRows(features, width);
        const rowAt = (i: number): Float32Array => all.subarray(i * width, (i + 1) * width);
        const places = Array.from(indices, (_, i) => i).filter((i) => isUnit(all, i * width, width));
        const rows = new Float32Array(places.length * width);
        places.forEach((i, row) => rows.set(rowAt(i), row * width));
        const ids = Int32Array.from(places, () => growing.nextId++);
        if (rows.length > 0) growing.parts.push(rows);
        places.forEach((i, row) => {
          const { item, label, bytes, mtime, before } = plan.fresh[indices[i]!]!;
          if (before) counts.changed++;
          else counts.added++;
          const name = nameBelow(list.root, item.path);
          growing.images.push({ id: ids[row]!, path: name, bytes, mtime, label });
        });
        withoutFeature += indices.length - places.length;
        const isPlaced = new Set(places);
        Array.from(indices).forEach((index, i) => {
          if (isPlaced.has(i)) return;
          const file = nameBelow(list.root, plan.fresh[index]!.item.path);
          growing.skipped.push({
            path: file,
            reason: 'the model gives it features that are all 0 or not finite',
          });
        });
      }
      if (about.keepsParts && performance.now() - saved > 1000 * saveEvery && growing.images.length > 0) {
        countChanges();
        await save();
      }
      onProgress?.({ part: 'images', done, total: plan.fresh.length });
    }
    if (growing.images.length === 0) {
      const why = firstSkipped(growing.skipped);
      const total = list.items.length;
      if (withoutFeature === 0) throw new DataError(`none of the ${total} images can be read${why}`);
      const unread = total - withoutFeature;
      throw new DataError(
        `none of the ${total} images can be indexed: ` +
          (unread === 0
            ? `${model.file} gives them features`
            : `${unread} can't be read, and ${model.file} gives the others features`) +
          ' that are all 0 or not finite. The weights are damaged, or the training that made them diverged: take an earlier ' +
          `checkpoint${why}`,
      );
    }
    countChanges();
    hasChanges ||= asText(growing.skipped) !== about.wasSkipped;
    if (needsFit(growing, about.asked)) {
      const choose = (rows: Float32Array, width: number): Promise<ChosenMode> =>
        chosenMode(model, growing, rows, width, about, options);
      await fitDraft(growing, about.asked, choose);
      hasChanges = true;
    }
  } catch (error) {
    if (about.keepsParts && signal?.aborted === true && hasChanges && growing.images.length > 0) {
      countChanges();
      await save();
    }
    throw error;
  }
  if (hasChanges) await save();
  return counts;
}

/** The transform that was asked for, or the one that `auto` finds best. */
async function chosenMode(
  model: Model,
  { images }: IndexDraft,
  rows: Float32Array,
  width: number,
  { asked, list, settings }: About,
  { batchSize = 64, numWorkers = 1, signal, onProgress }: BuildIndexOptions,
): Promise<ChosenMode> {
  if (asked !== 'auto') return { mode: asked, reason: `asked for ${asked}` };
  const itemOf = (row: number): ImageItem => ({
    path: path.resolve(list.root, images[row]!.path),
    label: null,
  });
  return chooseTransform(model.backbone, rows, width, itemOf, {
    ...{ kind: settings.features, resize: settings.resize, crop: settings.crop },
    ...{ batchSize, numWorkers, device: model.device, signal },
    onProgress: (done, total) => onProgress?.({ part: 'views', done, total }),
  });
}
