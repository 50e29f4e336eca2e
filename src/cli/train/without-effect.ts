/** Flags of a new run that would have no effect, because what they belong to is missing. */
import { flagOf, type PartialSettings, type SettingName } from '../../run/settings.js';

/** @param flags - As they were given; `overrides` has those of a file too. */
export function withoutEffect(
  overrides: PartialSettings,
  flags: PartialSettings & { preset?: string | undefined },
): string[] {
  const given = (...names: SettingName[]): string[] =>
    names.filter((name) => flags[name] !== undefined).map(flagOf);
  const problems: string[] = [];
  const refuse = (names: readonly string[], because: string): void => {
    if (names.length > 0)
      problems.push(`${names.join(' and ')} ${names.length === 1 ? 'has' : 'have'} no effect: ${because}`);
  };
  if (overrides.knnEvery === undefined)
    refuse(given('knnTrain', 'knnVal'), 'give --knn-every too, the epochs between two evaluations');
  if (overrides.init === undefined && overrides.resumeFrom === undefined)
    refuse(given('initCheckpointKey', 'initNormalization', 'initWithHead'), '--init is missing');
  // the preset auto may choose simdino
  if ((overrides.loss ?? (flags.preset === 'paper' ? 'dino' : undefined)) === 'dino')
    refuse(given('compressionWeight'), 'it is of --loss simdino, and the loss is dino');
  return problems;
}
