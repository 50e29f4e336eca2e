/**
 * What trainings of a given length reached on the measured data sets, on a CPU: rows made by the harness in bench/learning,
 * for the line that `dino train --for` prints.
 */
import { formatDuration } from '../plain/units.js';

export interface Reached {
  dataset: string;
  images: number;
  /** Side of the data set's images, pixels. */
  side: number;
  /** How long the training took, on how many cores. */
  seconds: number;
  cores: number;
  /** k-NN top-1 in per cent: of the trained network, of the same one untrained, of raw pixels. */
  top1: number;
  untrained: number;
  pixels: number;
}

export const REACHED: readonly Reached[] = [
  {
    dataset: 'cifar10-mini',
    images: 10000,
    side: 32,
    seconds: 600,
    cores: 2,
    top1: 66.8,
    untrained: 33.8,
    pixels: 31.6,
  },
  {
    dataset: 'imagenette-mini',
    images: 2000,
    side: 224,
    seconds: 600,
    cores: 2,
    top1: 69,
    untrained: 30.1,
    pixels: 26,
  },
  {
    dataset: 'pacs-mini',
    images: 1353,
    side: 227,
    seconds: 600,
    cores: 2,
    top1: 62.9,
    untrained: 37.3,
    pixels: 22.7,
  },
  {
    dataset: 'cifar10-mini',
    images: 10000,
    side: 32,
    seconds: 3600,
    cores: 1,
    top1: 70,
    untrained: 35.6,
    pixels: 31.6,
  },
  {
    dataset: 'pacs-mini',
    images: 1353,
    side: 227,
    seconds: 3600,
    cores: 1,
    top1: 64.6,
    untrained: 37.2,
    pixels: 22.7,
  },
];

/** A row speaks for trainings up to this factor shorter or longer. */
const SIMILAR = 1.6;

/** Fewer images than the smallest measured set by more than this factor: its numbers promise too much. */
const FAR_FEWER = 3;

/**
 * What trainings of about this length reached, in a sentence; null when none was measured.
 * @param images - How many there are: with far fewer than were measured, it says so.
 * @param rows - Default: all that were measured.
 */
export function reachedIn(
  seconds: number,
  images: number,
  rows: readonly Reached[] = REACHED,
): string | null {
  const distance = (row: Reached): number => Math.abs(Math.log(row.seconds / seconds));
  const nearest = new Map<string, Reached>();
  for (const row of rows) {
    const best = nearest.get(row.dataset);
    if (distance(row) <= Math.log(SIMILAR) && (best === undefined || distance(row) < distance(best)))
      nearest.set(row.dataset, row);
  }
  if (nearest.size === 0) return null;
  const parts = [...nearest.values()].map(
    ({ dataset, top1, pixels, untrained, seconds: took, cores }) =>
      `${top1.toFixed(1)} on ${dataset} (${formatDuration(took)} on ${cores} core${cores === 1 ? '' : 's'}; raw pixels ` +
      `${pixels.toFixed(1)}, untrained ${untrained.toFixed(1)})`,
  );
  const said = `runs of this length reached a k-NN top-1 of ${parts.join(', ')}`;
  const fewest = Math.min(...[...nearest.values()].map((row) => row.images));
  return images * FAR_FEWER < fewest
    ? `${said}; ${images} images are far fewer than any of these sets has (at least ${fewest}), so expect less`
    : said;
}
