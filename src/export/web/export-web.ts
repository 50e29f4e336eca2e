/**
 * A folder that any static server can host. In its page a model draws attention and finds neighbours in the visitor's
 * browser. It holds the model as ONNX, the page and onnxruntime's files (built from web/share/), and, when images are
 * given, pictures and features of them. Nothing in it names a path of this machine or another host.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';
import { listImages, type ListNotes, notesOf } from '../../data/index.js';
import { CheckpointError, ConfigError, EngineError } from '../../errors.js';
import { removeWithin } from '../../files/guarded.js';
import { assertWritableFolder } from '../../files/output.js';
import { modelArgument } from '../../models/model-argument.js';
import {
  being,
  callback,
  checkCall,
  count,
  filePath,
  oneOf,
  optionsOf,
  signal as abortSignal,
  text,
} from '../../plain/check-options.js';
import { embed } from '../../eval/embed.js';
import { whitenEmbeddings } from '../../eval/whiten-embeddings.js';
import { defaultEvalSizes } from '../../plain/eval-geometry.js';
import { WHITEN_CHOICES, type WhitenChoice } from '../../plain/feature-transform.js';
import { hasTokens, isAttentive } from '../../models/index.js';
import { packageVersion } from '../../version.js';
import type { LoadedModel } from '../../weights/loaded-model.js';
import { buildOnnx, trainedWith, writeBelow } from '../onnx/export-onnx.js';
import { halveOnnx } from '../onnx/halve.js';
import type { OnnxModel } from '../onnx/proto.js';
import { encodeModel } from '../onnx/proto.js';
import { quantizeOnnx } from '../onnx/quantize.js';
import {
  type UnfinishedManifest,
  WEB_DTYPES,
  type WebDtype,
  type WebManifest,
} from '../../plain/web-manifest.js';
import { CLASSIFIER_FILE, prepareClassifier, type WebClassifierSource } from './classifier.js';
import { checkPlaces, earlierFiles } from './earlier-export.js';
import { addGallery, galleryFiles, type GallerySource } from './gallery.js';

export interface WebExportOptions {
  /** Images among which neighbours are found: a folder, a text file of paths, or images with known features. */
  images?: string | GallerySource;
  /**
   * How weights are stored: `fp16` (default: half the size, computed in 32 bits all the same), `fp32`, or `q8` (a quarter,
   * 8-bit matrix products; slower in WebGPU; a ResNet, which has none, is refused).
   */
  dtype?: WebDtype;
  /** Heading of the page. */
  title?: string;
  /**
   * How features are centred or whitened before they are compared, for a folder or list of images; default `auto`, as
   * for an index. Images with known features bring their own transform.
   */
  whiten?: WhitenChoice;
  /** A linear classifier of this model's features, whose labels the page shows with their probabilities. */
  classifier?: WebClassifierSource;
  numWorkers?: number;
  signal?: AbortSignal | undefined;
  /** Called after every batch of images. */
  onProgress?: (progress: { done: number; total: number }) => void;
}

export interface WebExport extends ListNotes {
  folder: string;
  /** The model's file. */
  model: string;
  /** Bytes of all files. */
  bytes: number;
  /** Bytes that a visitor's browser loads, without pictures: page, model, runtime, features. */
  download: number;
  files: number;
  /** Images among which neighbours are found. */
  images: number;
  /** Of the classifier; null without one. */
  classes: readonly string[] | null;
  skipped: { path: string; reason: string }[];
  /** Names of the graph's attention and patch features; null where the architecture has none. */
  attention: string | null;
  patches: string | null;
}

const MANIFEST = 'model.json';
const MODEL_FILE = 'model.onnx';
const COMPRESSED = '.br';

/** The built page: `scripts/setup.mjs web` makes it, the package ships it. */
const pageFolder = fileURLToPath(new URL('../../share/', import.meta.url));

const writeManifest = (folder: string, manifest: WebManifest | UnfinishedManifest): void =>
  writeBelow(folder, MANIFEST, new TextEncoder().encode(`${JSON.stringify(manifest, null, 2)}\n`));

/**
 * Removes what an earlier export wrote, and nothing else. Before that it notes these files, and those that may be written
 * next, in a manifest that is not a whole export's: wherever this one breaks off, the next call goes on.
 */
function begin(folder: string, earlier: readonly string[], planned: readonly string[]): void {
  // a file of somebody's own that has such a name is none of ours until it is written
  const ours = planned.filter((name) => !existsSync(path.join(folder, name)));
  const files = [...new Set([...earlier, ...ours])];
  const within = path.resolve(folder);
  checkPlaces(within, [...files, ...planned]);
  writeManifest(folder, { format: 'dino-web', unfinished: true, files });
  for (const name of earlier) removeWithin(path.join(within, name), { within });
}

/** The files of the page: where they are, and their names in an export. */
function pageFiles(): { name: string; file: string }[] {
  if (!existsSync(path.join(pageFolder, 'index.html'))) {
    throw new EngineError(
      `The page of web exports is not built (${pageFolder}): run node scripts/setup.mjs web`,
    );
  }
  return readdirSync(pageFolder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const file = path.join(entry.parentPath ?? entry.path, entry.name);
      const url = path.relative(pageFolder, file).split(path.sep).join('/');
      // onnxruntime's WebAssembly is kept compressed; few static servers would say so to a browser
      return { file, name: url.endsWith(COMPRESSED) ? url.slice(0, -COMPRESSED.length) : url };
    })
    .sort((a, b) => (a.file < b.file ? -1 : 1));
}

/** @throws ConfigError for 8 bits of a network in which they would change nothing. */
function convert(model: OnnxModel, dtype: WebDtype, arch: string): OnnxModel {
  if (dtype === 'fp16') return halveOnnx(model);
  if (dtype === 'fp32') return model;
  const quantized = quantizeOnnx(model);
  if (quantized === null)
    throw new ConfigError(
      `--dtype q8: ${arch} has no matrix products, which are what is stored in 8 bits: use fp16, half the size`,
    );
  return quantized;
}

const gallery = being('a folder, a text file of paths, or the result of galleryOfIndex()', (value) => {
  const { root, paths, labels, features, skipped } = Object(value) as Partial<GallerySource>;
  const isSource =
    typeof root === 'string' &&
    [paths, labels, skipped].every(Array.isArray) &&
    features instanceof Float32Array;
  return isSource || filePath.safeParse(value).success;
});

const classifier = being('a classifier, from fitClassifier() or loadClassifier()', (value) => {
  const { head, takes } = Object(value) as Partial<WebClassifierSource>;
  return Object(head) === head && Object(takes) === takes;
});

const webOptions = optionsOf<WebExportOptions>(
  {},
  {
    ...{ images: gallery, dtype: oneOf(WEB_DTYPES), title: text, whiten: oneOf(WHITEN_CHOICES) },
    ...{ classifier, numWorkers: count(), signal: abortSignal, onProgress: callback },
  },
);

/**
 * Writes the folder; an earlier export in it is replaced, other files are left alone.
 *
 * @throws ConfigError for a model that can't be exported or options out of range; DataError for images that can't be used or
 *   a folder that holds something else, or a link on the way to one of its files; CheckpointError when a file can't be written; EngineError when the page is not
 *   built; the signal's reason when aborted.
 */
export async function exportWeb(
  model: LoadedModel,
  folder: string,
  options: WebExportOptions = {},
): Promise<WebExport> {
  checkCall(
    'exportWeb()',
    modelArgument(model),
    ['folder', filePath, folder],
    ['options', webOptions, options],
  );
  const { dtype = 'fp16', signal } = options;
  const { architecture, backbone } = model;
  const { arch, embedDim, patchSize, imgSize, numHeads } = architecture;
  assertWritableFolder(folder, CheckpointError);
  const page = pageFiles();
  const addClassifier =
    options.classifier === undefined ? null : prepareClassifier(options.classifier, embedDim);
  const givesTokens = hasTokens(backbone);
  const attention = isAttentive(backbone) ? 'class_attention' : null;
  const outputs = {
    feature: givesTokens ? 'class_token' : 'feature',
    attention,
    patches: givesTokens ? 'patch_tokens' : null,
  };
  const onnx = buildOnnx(model, {
    size: null,
    outputs: {
      classToken: 'class_token',
      patchTokens: 'patch_tokens',
      ...(attention === null ? {} : { classAttention: attention }),
    },
  });
  const bytes = encodeModel(convert(onnx, dtype, arch));
  const earlier = earlierFiles(folder, MANIFEST);
  const { images } = options;
  // all that may take long or fail by what was given comes first: until here an earlier export is whole
  const found = typeof images === 'string' ? await embedded(model, images, options) : images;
  signal?.throwIfAborted();
  begin(folder, earlier, [
    ...[MODEL_FILE, ...page.map(({ name }) => name)],
    ...(found === undefined ? [] : galleryFiles(found.paths.length)),
    ...(addClassifier === null ? [] : [CLASSIFIER_FILE]),
  ]);

  const written: string[] = [];
  const write = (name: string, bytes: Uint8Array): void => {
    writeBelow(folder, name, bytes);
    written.push(name);
  };
  write(MODEL_FILE, bytes);
  const added = found === undefined ? null : await addGallery(found, { embedDim, signal, write });
  const gallery = added?.gallery ?? null;
  const skipped = [...(found?.skipped ?? []), ...(added?.skipped ?? [])];
  const labelling = addClassifier?.(write) ?? null;
  signal?.throwIfAborted();
  for (const { name, file } of page) {
    const bytes = readFileSync(file);
    write(name, file.endsWith(COMPRESSED) ? brotliDecompressSync(bytes) : bytes);
  }

  const manifest: WebManifest = {
    format: 'dino-web',
    packageVersion,
    title: options.title ?? `${arch}${trainedWith(arch)}`,
    model: {
      ...{ file: MODEL_FILE, bytes: bytes.length, dtype, arch, embedDim, patchSize, imgSize, outputs },
      heads: attention === null ? 0 : numHeads,
      parameters: [...backbone.parameters()].reduce((sum, parameter) => sum + parameter.numel, 0),
    },
    sizes: defaultEvalSizes(imgSize),
    mean: backbone.normalization.mean,
    std: backbone.normalization.std,
    gallery,
    classifier: labelling,
    files: written,
  };
  writeManifest(folder, manifest); // last: it makes the export whole
  const sizeOf = (name: string): number => statSync(path.join(folder, name)).size;
  const all = [...written, MANIFEST];
  // of the two builds of onnxruntime a browser loads one: the larger counts
  const isPicture = (name: string): boolean => name.endsWith('.webp');
  const runtimes = all.filter((name) => name.endsWith('.wasm')).map(sizeOf);
  const rest = all.filter((name) => !isPicture(name) && !name.endsWith('.wasm'));
  return {
    folder: path.resolve(folder),
    model: path.resolve(folder, MODEL_FILE),
    bytes: all.reduce((sum, name) => sum + sizeOf(name), 0),
    download: rest.reduce((sum, name) => sum + sizeOf(name), 0) + Math.max(0, ...runtimes),
    files: all.length,
    images: gallery?.count ?? 0,
    classes: labelling?.classes ?? null,
    skipped,
    ...notesOf(found ?? {}),
    attention: outputs.attention,
    patches: outputs.patches,
  };
}

async function embedded(
  model: LoadedModel,
  images: string,
  { numWorkers, signal, onProgress, whiten = 'auto' }: WebExportOptions,
): Promise<GallerySource> {
  const list = await listImages(images, { signal });
  const loading = { signal, ...(numWorkers === undefined ? {} : { numWorkers }) };
  const result = await embed(model, list, {
    ...loading,
    ...(onProgress === undefined ? {} : { onProgress }),
  });
  const { paths, labels, classes, features, skipped, leftOut, remarks } = result;
  const { whitening: transform } = await whitenEmbeddings(model, result, { ...loading, whiten });
  const named = paths.map((_, i) => classes?.[labels[i] ?? -1] ?? null);
  return {
    ...{ root: list.root, paths, labels: named, features, transform, skipped },
    ...{ leftOut, remarks },
  };
}
