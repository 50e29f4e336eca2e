/** Which of the studio's models weights belong to. */
import type { LookModel } from '../api.ts';

/** The model that weights belong to: itself, or the run of a checkpoint. */
export const modelOf = (models: readonly LookModel[], weights: string): LookModel | undefined =>
  models.find(({ path, checkpoints }) => path === weights || checkpoints.some((one) => one.path === weights));
