/**
 * How the images of a run are normalized whose channels are taken as they are: as the settings say, as the weights that it
 * begins with were, or as is measured over the images.
 */
import { type ChannelStatistics, type ImageItems, measureChannels } from '../data/index.js';
import { ConfigError } from '../errors.js';
import { channelProblems } from './config.js';
import { printable } from '../plain/printable.js';
import type { PartialSettings, TrainSettings } from '../run/settings.js';

/** What was measured for a run. */
export type MeasuredChannels = Omit<ChannelStatistics, 'skipped'> & {
  /** Images of the sample that could not be used, and why the first could not. */
  skipped: number;
  firstSkipped: { path: string; reason: string } | null;
};

/**
 * @param weights - Settings of the weights that the run begins with.
 * @returns The settings that say it, none for RGB; and what was measured, null where nothing was.
 * @throws ConfigError for settings that are for RGB, where the weights take other channels; DataError when none of the images
 *   has so many channels
 */
export async function settleChannels(
  settings: TrainSettings,
  weights: PartialSettings,
  items: ImageItems,
  signal?: AbortSignal,
): Promise<{ input: Pick<TrainSettings, 'channels' | 'mean' | 'std'>; measured: MeasuredChannels | null }> {
  const { channels = weights.channels, mean, std } = settings;
  if (channels === undefined) return { input: {}, measured: null };
  const problems = channelProblems({ ...settings, channels });
  if (problems.length > 0) throw new ConfigError(problems);
  if (mean !== undefined && std !== undefined) return { input: { channels, mean, std }, measured: null };
  if (weights.channels === channels && weights.mean !== undefined && weights.std !== undefined)
    return { input: { channels, mean: weights.mean, std: weights.std }, measured: null };
  const { skipped, ...found } = await measureChannels(items, channels, { signal });
  const [firstSkipped = null] = skipped;
  return {
    input: { channels, mean: found.mean, std: found.std },
    measured: { ...found, skipped: skipped.length, firstSkipped },
  };
}

/** What is wrong with images that were measured, one sentence each. */
export function warningsOfChannels({ images, skipped, firstSkipped, constant }: MeasuredChannels): string[] {
  const warnings: string[] = [];
  if (firstSkipped !== null)
    warnings.push(
      `${skipped} of the ${images + skipped} images that were looked at can't be used; the first: ` +
        `${printable(firstSkipped.path)}: ${printable(firstSkipped.reason)}`,
    );
  if (constant.length > 0)
    warnings.push(
      `channel ${constant.join(', ')} has the same value everywhere: nothing can be learned from it`,
    );
  return warnings;
}
