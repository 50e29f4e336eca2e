/** Mean and standard deviation of each channel over a sample of the images, where `--channels` takes them as they are. */
import { DataError } from '../../errors.js';
import { countChannels, DEEP_WHITE } from '../../plain/channels.js';
import { printable } from '../../plain/printable.js';
import type { ImageItems } from '../list/image-items.js';
import { PackedImages } from '../list/packed-images.js';
import { decodeDeep } from '../read/decode-deep.js';
import { ImageReader } from '../read/image-reader.js';
import type { SkippedImage } from './render.js';

/** Images that are read, spread evenly over the list: enough for two digits. */
const SAMPLE = 256;
const DIGITS = 6;

export interface ChannelStatistics {
  /** Of each channel, where white is 1. */
  mean: number[];
  /** A channel that is the same everywhere has 1 here: dividing by 0 would make its values infinite. */
  std: number[];
  /** Channels that are the same everywhere, counted from 1. */
  constant: number[];
  /** Images that were read. */
  images: number;
  skipped: SkippedImage[];
}

/**
 * Measures at most 256 images, at full size. Every pixel counts the same.
 * @throws DataError when none of them has so many channels; the signal's reason when it is aborted
 */
export async function measureChannels(
  items: ImageItems,
  channels: number,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<ChannelStatistics> {
  const reader = new ImageReader(PackedImages.from(items));
  const [sums, squares] = [new Float64Array(channels), new Float64Array(channels)];
  const skipped: SkippedImage[] = [];
  let [images, pixels] = [0, 0];
  const count = Math.min(items.length, SAMPLE);
  try {
    for (let i = 0; i < count; i++) {
      signal?.throwIfAborted();
      const index = Math.floor((i * items.length) / count);
      try {
        const { data } = await decodeDeep(await reader.read(index), channels);
        for (let at = 0; at < data.length; at += channels)
          for (let c = 0; c < channels; c++) {
            const value = data[at + c]! / DEEP_WHITE;
            sums[c]! += value;
            squares[c]! += value * value;
          }
        images++;
        pixels += data.length / channels;
      } catch (error) {
        if (!(error instanceof DataError)) throw error;
        skipped.push({ ...reader.where(index), reason: error.message });
      }
    }
  } finally {
    reader.close();
  }
  const [first] = skipped;
  if (images === 0)
    throw new DataError(
      `none of ${count} images has ${countChannels(channels)} (--channels)` +
        (first === undefined ? '' : `; the first: ${printable(first.path)}: ${printable(first.reason)}`),
    );
  const rounded = (value: number): number => Number(value.toPrecision(DIGITS));
  const mean = Array.from(sums, (sum) => sum / pixels);
  const deviation = Array.from(squares, (sum, c) => Math.sqrt(Math.max(0, sum / pixels - mean[c]! ** 2)));
  const isConstant = (std: number): boolean => std < 1 / (2 * DEEP_WHITE);
  return {
    mean: mean.map(rounded),
    std: deviation.map((std) => (isConstant(std) ? 1 : rounded(std))),
    constant: deviation.flatMap((std, c) => (isConstant(std) ? [c + 1] : [])),
    ...{ images, skipped },
  };
}
