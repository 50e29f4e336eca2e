/**
 * How the images of a run are normalized whose channels are taken as they are: as the settings say, as the weights that it
 * begins with were, or as is measured over the images.
 */
import { type ChannelStatistics, type ImageItems, measureChannels } from '../data/index.js';
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
 * @throws DataError when none of the images has so many channels
 */
export async function settleChannels(
  settings: TrainSettings,
  weights: PartialSettings,
  items: ImageItems,
  signal?: AbortSignal,
): Promise<{ input: Pick<TrainSettings, 'channels' | 'mean' | 'std'>; measured: MeasuredChannels | null }> {
  const { channels = weights.channels, mean, std } = settings;
  if (channels === undefined) return { input: {}, measured: null };
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
