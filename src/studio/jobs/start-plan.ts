/** The settings that a training would begin with: the preset's choices for these images and this machine, as in `dino train`. */
import { listImages, type ImageList } from '../../data/index.js';
import { ConfigError, DataError } from '../../errors.js';
import { OUTSIDE } from '../../files/read-below.js';
import { readOverrides } from '../../train/config.js';
import { SETTING_NAMES, settingFields, stepsOf, type TrainSettings } from '../../run/settings.js';
import { flagKind } from '../../plain/flag-values.js';
import { parseDuration } from '../../plain/units.js';
import { planTraining } from '../../train/plan.js';
import type { StartPlan, StartRequest } from '../../plain/studio-api/index.js';
import type { JobFunction } from './job.js';

export interface Plan extends StartPlan {
  settings: TrainSettings & Record<string, unknown>;
  images: ImageList;
}

/**
 * Files that the studio may not read were left out of the list, but a training from the terminal would read them: the two
 * would not be the same training.
 */
function refuseOutside({ unreadable, source }: ImageList): void {
  const outside = unreadable.filter(({ reason }) => reason === OUTSIDE);
  const [first] = outside;
  if (first === undefined) return;
  throw new DataError(
    `${outside.length} of the files and folders that ${source} names or links to are not under the folders that this ` +
      `studio was given, the first is ${first.path}. Start the studio with their folder too (dino studio FOLDER FOLDER), ` +
      'or take them out.',
  );
}

/** @throws ConfigError with every problem, DataError for images that can't be used. */
export async function planOf({ images: source, preset, overrides: flags }: StartRequest): Promise<Plan> {
  readOverrides({ flags }); // what is wrong by itself, before the images are listed
  const images = await listImages(source);
  refuseOutside(images);
  const ofWeights: string[] = [];
  const { settings, choices, warnings } = await planTraining(images, {
    ...{ sources: { flags }, preset, measures: false },
    onWarning: (message) => ofWeights.push(message),
  });
  const stepsPerEpoch = Math.floor(images.items.length / settings.batchSize);
  if (stepsPerEpoch === 0) {
    throw new ConfigError([
      `${images.items.length} images are fewer than one batch of ${settings.batchSize}: choose a smaller batchSize`,
    ]);
  }
  // in the order of the help, not of the decisions
  const placeOf = (name: string): number => (SETTING_NAMES as readonly string[]).indexOf(name);
  return {
    settings,
    fields: SETTING_NAMES.map((name) => ({
      ...{ name, kind: flagKind(settingFields[name]), help: settingFields[name].description ?? '' },
    })),
    choices: [...choices].sort((a, b) => placeOf(a.name) - placeOf(b.name)),
    warnings: [...ofWeights, ...warnings],
    device: settings.device,
    stepsPerEpoch,
    steps: stepsOf(settings, stepsPerEpoch),
    seconds: parseDuration(settings.for ?? ''),
    images,
  };
}

export const run: JobFunction<'start-plan'> = async (request) => {
  const { settings, fields, choices, warnings, device, steps, seconds, stepsPerEpoch } =
    await planOf(request);
  return { settings, fields, choices, warnings, device, steps, seconds, stepsPerEpoch };
};
