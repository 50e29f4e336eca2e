/** Gathers facts about the images and the machine, for the preset `auto`. */
import os from 'node:os';
import { imageHeader, type ImageItem, type ImageItems, readImageFile } from '../data/index.js';
import { pathsOrItems } from '../data/arguments.js';
import { checkCall, count, finite, oneOf, optionsOf } from '../plain/check-options.js';
import { DataError } from '../errors.js';
import { messageOf, printable } from '../plain/printable.js';
import type { MachineFacts, TrainFacts } from './presets.js';

/** Number of headers that are read to find the typical size of an image. */
const SAMPLE = 64;

const median = (values: number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
};

/** Bytes of memory that this process may use (within a container's limit). */
export function usableMemory(): number {
  // constrainedMemory() is the cgroup's limit; 0 or a huge number if there is none
  const limit = process.constrainedMemory();
  return limit > 0 && limit < os.totalmem() ? limit : os.totalmem();
}

const deviceKind = oneOf(['cpu', 'cuda', 'mps']);

const machineSchema = optionsOf<MachineFacts>(
  { device: deviceKind, cores: count(1), memoryGiB: finite.gt(0) },
  { processes: count(1) },
);

/** Cores and memory that this process may use. */
export function machineFacts(device: MachineFacts['device']): MachineFacts {
  checkCall('machineFacts()', ['device', deviceKind, device]);
  return { device, cores: os.availableParallelism(), memoryGiB: usableMemory() / 2 ** 30 };
}

/**
 * Reads the headers of a sample of the images, evenly spread over the list, to find their median size.
 * Unreadable images are skipped here; the loader reports them.
 * @throws DataError when no image of the sample can be read.
 */
export async function gatherFacts(
  images: readonly string[] | ImageItems,
  machine: MachineFacts,
): Promise<TrainFacts> {
  checkCall('gatherFacts()', ['images', pathsOrItems, images], ['machine', machineSchema, machine]);
  if (images.length === 0) throw new DataError('no images to look at');
  const step = Math.max(1, images.length / SAMPLE);
  const sample: ImageItem[] = [];
  for (let i = 0; i < images.length; i += step) {
    const image = images.at(Math.floor(i))!;
    sample.push(typeof image === 'string' ? { path: image, label: null } : image);
  }
  const widths: number[] = [];
  const heights: number[] = [];
  let firstProblem = '';
  for (const { path } of sample) {
    try {
      const { width, height } = await imageHeader(await readImageFile(path));
      widths.push(width);
      heights.push(height);
    } catch (error) {
      firstProblem ||= `${printable(path)}: ${messageOf(error)}`;
    }
  }
  if (widths.length === 0) {
    throw new DataError(
      `none of the ${sample.length} sampled images can be read; the first: ${firstProblem}`,
    );
  }
  return { ...machine, images: images.length, width: median(widths), height: median(heights) };
}
