/**
 * What the class token looks at, over a video (reference: video_generation.py): frames from a video file, a folder or a
 * list of pictures; attention of the last block; a video of the maps, of an overlay or of masks.
 *
 * Departures: no folders of temporary pictures; --threshold has an effect (the reference computes masks but does not use
 * them); frames of more than 4,096 patches are reduced by default; webm instead of avi.
 */
import path from 'node:path';
import { images as imageFiles } from '../data/arguments.js';
import { modelArgument } from '../models/model-argument.js';
import {
  being,
  callback,
  checkCall,
  count,
  filePath,
  finite,
  oneOf,
  optionsOf,
  pixels,
  signal as abortSignal,
} from '../plain/check-options.js';
import { decodeImage, type EncodedImage, firstSkipped } from '../data/index.js';
import { printable } from '../plain/printable.js';
import { ConfigError, DataError } from '../errors.js';
import { checkNotInput } from '../files/new-places.js';
import { assertWritable } from '../files/output.js';
import { imageTensor, isAttentive, normalizeUnit, type AttentiveBackbone } from '../models/index.js';
import { inferenceMode, scope, type Tensor } from '../torch/index.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { massMasks, noAttention, squeezedNote } from './attention.js';
import {
  checkPatches,
  fitPatches,
  MAX_DEFAULT_PATCHES,
  type AttentionSize,
} from '../plain/attention-size.js';
import { COLOUR_MAPS, heatMap, scaleToUnit, type ColourMap } from '../plain/colors.js';
import {
  findFfmpeg,
  isVideoEnding,
  readVideo,
  toEvenSize,
  VIDEO_ENDINGS,
  VideoWriter,
  type VideoFrame,
} from './ffmpeg.js';
import { listFrames } from './list-frames.js';
import { resizeTensor } from './resize-tensor.js';
import { probeVideo } from './probe-video.js';

export const VIDEO_PICTURES = ['map', 'overlay', 'mask', 'beside'] as const;
/**
 * `map`: attention in colours, as the reference's video. `overlay`: the map over the frame. `mask`: the frame, darkened
 * outside the patches that hold the threshold's share. `beside`: the frame and the map side by side.
 */
export type VideoPicture = (typeof VIDEO_PICTURES)[number];

export interface AttentionVideoOptions {
  /** A file that ends in .mp4 or .webm. */
  output: string;
  /** Default `map`. */
  show?: VideoPicture;
  /** Show only the patches that together hold this share of the attention, above 0 and at most 1. */
  threshold?: number;
  /** Frames per second of the output. Default: the video's own, or 30 for pictures. */
  fps?: number;
  /** Shorter side of the frames in pixels, or [height, width]. Default: as they are, at most 4,096 patches. */
  imageSize?: number | readonly [height: number, width: number];
  /** The most patches of a frame; default 8,192. The cost grows with their square, and nothing interrupts it. */
  maxPatches?: number;
  /** Which head; default the mean over heads. */
  head?: number | 'mean';
  /** Default `inferno`. */
  colours?: ColourMap;
  /** Path of ffmpeg; default: the one that findFfmpeg() finds. */
  ffmpeg?: string;
  signal?: AbortSignal | undefined;
  /** `total` is an estimate for a video that says how long it is, null for one that doesn't. */
  onProgress?: (progress: { done: number; total: number | null }) => void;
  onWarning?: (message: string) => void;
}

export interface AttentionVideoResult {
  output: string;
  /** Frames written. */
  frames: number;
  fps: number;
  /** Size of the output, pixels. */
  width: number;
  height: number;
  /** Patches down and across. */
  rows: number;
  columns: number;
  encoder: string;
  ffmpeg: string;
  /** Pictures that could not be read. */
  skipped: { path: string; reason: string }[];
}

/** Darkness outside of a mask. */
const OUTSIDE = 0.25;

function checkOptions(model: LoadedModel, options: AttentionVideoOptions): AttentiveBackbone {
  const { output, threshold, fps, imageSize, head = 'mean' } = options;
  const { backbone } = model;
  const problems: string[] = [];
  if (!isVideoEnding(path.extname(output).toLowerCase())) {
    problems.push(`output ${output}; expected a file that ends in ${VIDEO_ENDINGS.join(' or ')}`);
  }
  if (threshold !== undefined && !(threshold > 0 && threshold <= 1)) {
    problems.push(`threshold ${threshold}; expected a share of the attention, above 0 and at most 1`);
  }
  if (fps !== undefined && !(fps > 0 && fps <= 1000)) {
    problems.push(`fps ${fps}; expected frames per second, above 0 and at most 1000`);
  }
  if (isAttentive(backbone)) {
    const { patchSize, numHeads } = backbone;
    const sides = imageSize === undefined ? [] : typeof imageSize === 'number' ? [imageSize] : imageSize;
    if (sides.some((side) => !Number.isInteger(side) || side < patchSize)) {
      problems.push(
        `image size ${sides.join(' x ')}; expected whole numbers, at least ${patchSize} (one patch)`,
      );
    }
    if (head !== 'mean' && !(Number.isInteger(head) && head >= 0 && head < numHeads)) {
      problems.push(`head ${head}; expected 0 to ${numHeads - 1}, or mean`);
    }
  } else problems.push(noAttention(model.architecture.arch));
  if (problems.length > 0 || !isAttentive(backbone)) throw new ConfigError(problems);
  return backbone;
}

interface Source {
  /** Each with the name of its picture; null for a video's. */
  frames: AsyncIterable<{ frame: VideoFrame; name: string | null }>;
  fps: number;
  total: number | null;
}

const videoInput = being(
  'a video, a folder of pictures, a pattern, or a list of pictures',
  (value) => filePath.safeParse(value).success || imageFiles.safeParse(value).success,
);
const videoOptions = optionsOf<AttentionVideoOptions>(
  { output: filePath },
  {
    ...{
      show: oneOf(VIDEO_PICTURES),
      threshold: finite,
      fps: finite,
      imageSize: pixels,
      maxPatches: count(1),
    },
    head: being("a head's number, or mean", (value) => value === 'mean' || Number.isInteger(value)),
    ...{ colours: oneOf(COLOUR_MAPS), ffmpeg: filePath, signal: abortSignal },
    ...{ onProgress: callback, onWarning: callback },
  },
);

/**
 * Draws attention over a video.
 *
 * @param given - A video file, a folder of pictures, a pattern such as 'frames/*.jpg', or a list of pictures (paths
 *   and bytes of image files).
 * @throws ConfigError for options out of range or an output that is the input; DataError when there are no frames, they can't be read or have
 *   different sizes, or the output can't be written; EngineError without ffmpeg; the signal's reason when aborted. Nothing
 *   is left at `output` then.
 */
export async function writeAttentionVideo(
  model: LoadedModel,
  given: string | readonly EncodedImage[],
  options: AttentionVideoOptions,
): Promise<AttentionVideoResult> {
  checkCall(
    'writeAttentionVideo()',
    modelArgument(model),
    ['input', videoInput, given],
    ['options', videoOptions, options],
  );
  const backbone = checkOptions(model, options);
  assertWritable(options.output);
  const { output, signal, onProgress, onWarning = () => undefined } = options;
  // one path in a list may be a video too
  const alone = typeof given !== 'string' && given.length === 1 ? given[0] : undefined;
  const input = typeof alone === 'string' ? alone : given;
  if (typeof input === 'string') checkNotInput(output, [input]);
  const pictures = await listFrames(input, onWarning); // before ffmpeg: without frames it does not matter whether ffmpeg is installed
  const ffmpeg = options.ffmpeg ?? (await findFfmpeg());
  const skipped: AttentionVideoResult['skipped'] = [];
  const source =
    pictures === null && typeof input === 'string'
      ? await fromVideo(ffmpeg, input, { onWarning, signal })
      : { frames: fromPictures(pictures ?? [], skipped, onWarning), fps: 30, total: pictures?.length ?? 0 };
  const fps = options.fps ?? source.fps;
  let writer: VideoWriter | null = null;
  let first: { frame: VideoFrame; name: string | null } | null = null;
  let shape = { width: 0, height: 0, rows: 0, columns: 0 };
  let frames = 0;
  try {
    for await (const { frame, name } of source.frames) {
      signal?.throwIfAborted();
      first ??= { frame, name };
      const { width, height } = first.frame;
      if (frame.width !== width || frame.height !== height) {
        throw new DataError(
          `${name ?? `frame ${frames + 1}`} has ${frame.width} x ${frame.height} pixels, ` +
            `${first.name ?? 'the first one'} ${width} x ${height}; expected frames of one size` +
            (name === null ? '' : ': remove the picture that differs, or bring all of them to one size'),
        );
      }
      const drawn = drawFrame(model, backbone, frame, options);
      const even = toEvenSize(drawn.picture);
      if (writer === null) {
        if (drawn.isSqueezed)
          onWarning(squeezedNote(`frames of ${frame.width} x ${frame.height} pixels`, drawn));
        shape = { width: even.width, height: even.height, rows: drawn.rows, columns: drawn.columns };
        writer = await VideoWriter.open(ffmpeg, output, { ...even, fps });
      }
      await writer.write(even);
      frames++;
      onProgress?.({ done: frames, total: source.total === null ? null : Math.max(source.total, frames) });
    }
    if (writer === null) {
      throw new DataError(`none of the ${pictures?.length ?? 0} frames can be read${firstSkipped(skipped)}`);
    }
    await writer.close();
  } finally {
    await writer?.[Symbol.asyncDispose]();
  }
  return { output, frames, fps, ...shape, encoder: writer.encoder, ffmpeg, skipped };
}

async function fromVideo(
  ffmpeg: string,
  file: string,
  options: { onWarning: (message: string) => void; signal: AbortSignal | undefined },
): Promise<Source> {
  const { fps, isVariable, seconds } = await probeVideo(ffmpeg, file);
  if (isVariable) {
    options.onWarning(
      `${printable(file)}: its frames seem to come at a varying rate, so it is drawn at their mean, ` +
        `${Number(fps.toFixed(2))} a second: faster ones are left out, slower ones repeated`,
    );
  }
  const total = seconds === null ? null : Math.max(1, Math.round(seconds * fps));
  const read = readVideo(ffmpeg, file, { ...options, fps: isVariable ? fps : undefined });
  return { frames: withoutNames(read), fps, total };
}

async function* withoutNames(frames: AsyncIterable<VideoFrame>): Source['frames'] {
  for await (const frame of frames) yield { frame, name: null };
}

async function* fromPictures(
  files: readonly EncodedImage[],
  skipped: AttentionVideoResult['skipped'],
  onWarning: (message: string) => void,
): Source['frames'] {
  for (const [i, file] of files.entries()) {
    const name = typeof file === 'string' ? file : `bytes[${i}]`;
    try {
      yield { frame: await decodeImage(file), name: printable(name) };
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      skipped.push({ path: name, reason: error.message });
      onWarning(`left out: ${error.message}`);
    }
  }
}

/**
 * Size that frames are resized to: torchvision's Resize, the longer side rounded down.
 * @throws DataError for frames smaller than a patch, or of more than `maxPatches`.
 */
function frameSize(
  frame: VideoFrame,
  patchSize: number,
  { imageSize: wanted, maxPatches }: Pick<AttentionVideoOptions, 'imageSize' | 'maxPatches'>,
): AttentionSize {
  const { width, height } = frame;
  if (typeof wanted === 'object') {
    const size = { height: wanted[0], width: wanted[1], isSqueezed: false };
    checkPatches(size, patchSize, maxPatches);
    return size;
  }
  let short = wanted;
  if (short === undefined) {
    const most = Math.min(maxPatches ?? MAX_DEFAULT_PATCHES, MAX_DEFAULT_PATCHES);
    const patches = (width * height) / patchSize ** 2;
    short = Math.min(width, height);
    if (patches > most) {
      const reduced = Math.floor(short * Math.sqrt(most / patches));
      if (reduced < patchSize && short >= patchSize) return fitPatches(frame, patchSize, most);
      short = reduced;
    }
  }
  const long = Math.trunc((short * Math.max(width, height)) / Math.min(width, height));
  const size = width < height ? { width: short, height: long } : { width: long, height: short };
  if (short < patchSize) {
    throw new DataError(`frames of ${width} x ${height} pixels are smaller than a patch of ${patchSize}`);
  }
  checkPatches(size, patchSize, maxPatches);
  return { ...size, isSqueezed: false };
}

/** A frame's attention, and the frame as the network saw it. */
export interface FrameAttention {
  /** (rows * patchSize, columns * patchSize, 3) bytes: the frame as the network saw it. */
  image: VideoFrame;
  rows: number;
  columns: number;
  /** (rows, columns): the head's or the heads' mean attention. */
  map: Float32Array;
  /** (rows, columns) of 0 and 1; null without a threshold. */
  mask: Uint8Array | null;
  /** The longer side was shortened to keep the number of patches down. */
  isSqueezed: boolean;
}

/** Attention of one frame. */
export function frameAttention(
  model: LoadedModel,
  backbone: AttentiveBackbone,
  frame: VideoFrame,
  options: Pick<AttentionVideoOptions, 'imageSize' | 'maxPatches' | 'head'> & {
    threshold?: number | undefined;
  },
): FrameAttention {
  const { patchSize } = backbone;
  const target = frameSize(frame, patchSize, options);
  const rows = Math.floor(target.height / patchSize);
  const columns = Math.floor(target.width / patchSize);
  return scope(() =>
    inferenceMode(() => {
      const { device } = model;
      const raw = imageTensor(frame.data, frame, device).squeeze(0); // (3, H, W)
      // as in the reference the tensor is resized, not the picture: nothing is rounded to bytes in between
      const unit = resizeTensor(raw.to('float32').div_(255), target.height, target.width)
        .narrow(1, 0, rows * patchSize)
        .narrow(2, 0, columns * patchSize); // (3, rows * P, columns * P)
      const images = normalizeUnit(unit.clone(), backbone.normalization).unsqueeze(0).contiguous();
      const weights = backbone.getLastClassAttention(images); // (1, heads, 1, 1 + N)
      const heads = weights.select(0, 0).select(1, 0).slice(1, 1).to('float32'); // (heads, N)
      const { head = 'mean', threshold } = options;
      const map = head === 'mean' ? heads.mean([0], true) : heads.narrow(0, head, 1); // (1, N)
      return {
        image: { data: toBytes(unit), width: columns * patchSize, height: rows * patchSize },
        rows,
        columns,
        map: map.contiguous().toTypedArray() as Float32Array,
        mask:
          threshold === undefined
            ? null
            : (massMasks(map, threshold).to('uint8').toTypedArray() as Uint8Array),
        isSqueezed: target.isSqueezed,
      };
    }),
  );
}

/** (3, H, W) of 0 to 1 as interleaved bytes. */
const toBytes = (unit: Tensor): Uint8Array =>
  unit
    .mul(255)
    .round_()
    .clamp_(0, 255)
    .to('uint8')
    .permute([1, 2, 0])
    .contiguous()
    .toTypedArray() as Uint8Array;

function drawFrame(
  model: LoadedModel,
  backbone: AttentiveBackbone,
  frame: VideoFrame,
  options: AttentionVideoOptions,
): { picture: VideoFrame; rows: number; columns: number; isSqueezed: boolean } {
  const { show = 'map', colours = 'inferno' } = options;
  // a mask needs a threshold: the paper's, where none was given
  const threshold = options.threshold ?? (show === 'mask' ? 0.6 : undefined);
  const { image, rows, columns, map, mask, isSqueezed } = frameAttention(model, backbone, frame, {
    ...options,
    threshold,
  });
  const { width, height } = image;
  const strength = scaleToUnit(map); // by patch
  const heat = heatMap(map, colours);
  const dark = heatMap(Float32Array.of(0), colours); // the outside of a mask is drawn as the least attention
  const side = show === 'beside' ? 2 : 1;
  const data = new Uint8Array(width * side * height * 3);
  const { patchSize } = backbone;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const patch = Math.floor(y / patchSize) * columns + Math.floor(x / patchSize);
      const isKept = mask === null || mask[patch] === 1;
      const alpha = isKept ? 0.25 + 0.5 * strength[patch]! : 0;
      const from = (y * width + x) * 3;
      const to = (y * width * side + x) * 3;
      for (let c = 0; c < 3; c++) {
        const pixel = image.data[from + c]!;
        const colour = isKept ? heat[patch * 3 + c]! : dark[c]!;
        if (show === 'overlay') data[to + c] = Math.round(pixel * (1 - alpha) + colour * alpha);
        else if (show === 'mask') data[to + c] = Math.round(isKept ? pixel : pixel * OUTSIDE);
        else if (show === 'map') data[to + c] = colour;
        else {
          data[to + c] = pixel;
          data[to + width * 3 + c] = colour;
        }
      }
    }
  }
  return { picture: { data, width: width * side, height }, rows, columns, isSqueezed };
}
