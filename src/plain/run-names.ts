/** Names in a run folder by which it is told from others, here because lists of images look for them too. */

export const CONFIG = 'config.json';
export const CHECKPOINTS = 'checkpoints';
export const IMAGE_NAMES = 'images.jsonl.gz';

/** Whether a folder with these entries is that of a run: a model's folder has a config.json too. */
export const holdsRun = (names: ReadonlySet<string>): boolean =>
  names.has(CONFIG) && (names.has(CHECKPOINTS) || names.has(IMAGE_NAMES));
