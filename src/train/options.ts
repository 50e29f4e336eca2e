/** What train() is given. */
import { imagesOrList } from '../data/arguments.js';
import type { ImageList } from '../data/index.js';
import type { BackboneFactory } from '../models/index.js';
import {
  anything,
  callback,
  filePath,
  finite,
  instanceOf,
  optionsOf,
  signal as abortSignal,
  yesOrNo,
} from '../plain/check-options.js';
import { World } from '../processes/world.js';
import { type Extension, extensionsSchema } from '../run/run-folder.js';
import type { TrainSettings } from '../run/settings.js';
import type { TrainEvent } from './events.js';

export interface TrainOptions {
  /**
   * A folder of images (class folders, nested or flat), a text file of paths, shards, or a list from listImages(). A resumed
   * run remembers them.
   */
  images?: string | ImageList;
  /** The run folder. */
  output: string;
  /**
   * Every setting; resolveSettings() builds them from a preset, a file and your own. A resumed run remembers them; with more
   * `epochs` or `steps` than it has, it goes on to these, and with `for` it goes on for that time (docs/training-guide.md, Train
   * for longer). A run for a time begins with `steps`, if there are any, and keeps to the time by changing them.
   */
  settings?: TrainSettings;
  /** Changes of the length to repeat: `extensions` in the config.json of another run with the same settings. */
  extensions?: readonly Extension[];
  /** When the time of `for` began, by performance.now(); default: with this call. */
  startedAt?: number;
  /**
   * Builds a custom backbone, for the setting `arch: 'custom'`; called for the student, then for the teacher (with
   * `dropPathRate` and `patchDropRate` 0). A resumed run needs it again, and so does loadModel().
   */
  backbone?: BackboneFactory;
  /** Continue from the newest checkpoint in `output`. Without it, a folder that holds a run is refused. */
  resume?: boolean;
  /** The other processes of this training, from joinWorld(); all call train() with the same arguments. Default: none. */
  world?: World;
  /** Aborting it finishes the step, writes a checkpoint and resolves with `interrupted`. */
  signal?: AbortSignal;
  onEvent?: (event: TrainEvent) => void;
}

export const trainOptions = optionsOf<TrainOptions>(
  { output: filePath },
  {
    images: imagesOrList,
    settings: anything, // checked setting by setting
    backbone: callback,
    extensions: extensionsSchema,
    startedAt: finite,
    resume: yesOrNo,
    world: instanceOf(World, 'a world, from joinWorld()'),
    signal: abortSignal,
    onEvent: callback,
  },
);
