/** Images whose channels are taken as they are (`--channels`): 16-bit gray, bands of a satellite, and so on. */

/** Most channels of an image; native/crops has the same number. */
export const MOST_CHANNELS = 16;

/** The highest value of a channel, which counts as 1. */
export const DEEP_WHITE = 65535;

/** `1 channel`, `4 channels`. */
export const countChannels = (count: number): string => (count === 1 ? '1 channel' : `${count} channels`);
