/**
 * What shows trainings beside the studio, `--log tensorboard,mlflow,wandb,trackio`: metrics.jsonl stays what counts, and a tracker that can't
 * be written or reached never ends a training.
 */
import sharp from 'sharp';
import { heatMap } from '../../plain/colors.js';
import { messageOf } from '../../plain/printable.js';
import { listWatched, readFrame } from '../../run/film-folder.js';
import type { TrainSettings } from '../../run/settings.js';
import type { TrainEvent } from '../events.js';
import { MlflowRun, mlflowServer } from './mlflow.js';
import { PYTHON_CLIENTS, PythonClient, pythonWith } from './python-client.js';
import { TensorBoardFile } from './tensorboard.js';

export interface TrackersOptions {
  run: string;
  settings: TrainSettings;
  /** Steps done so far. */
  step: number;
  warn: (message: string) => void;
}

/** An event as numbers by name; null for events that have none. */
function scalarsOf(event: TrainEvent): { step: number; values: Record<string, number> } | null {
  if (event.type === 'step' && event.metrics !== null) {
    const { step, ...values } = event.metrics;
    return { step, values };
  }
  if (event.type === 'judge') {
    const { score, untrained, pixels } = event.judge;
    return {
      step: event.step,
      values: { 'judge/score': score, 'judge/untrained': untrained, 'judge/pixels': pixels },
    };
  }
  if (event.type !== 'knn') return null;
  const named = (prefix: string, scores: Record<string, number>) =>
    Object.entries(scores).map(([k, value]) => [`${prefix}/k${k}`, value]);
  const values = Object.fromEntries([
    ...named('knn_top1', event.top1),
    ...named('knn_top1_whitened', event.pca?.top1 ?? {}),
  ]) as Record<string, number>;
  return { step: event.step, values };
}

const namesOf = ({ log }: Pick<TrainSettings, 'log'>): string[] => log?.split(',') ?? [];

/** Looks at what the trackers need, before anything is written. @throws ConfigError for one that is not set up. */
export function checkTrackers(settings: Pick<TrainSettings, 'log'>): void {
  const names = namesOf(settings);
  if (names.includes('mlflow')) mlflowServer();
  for (const name of PYTHON_CLIENTS) if (names.includes(name)) pythonWith(name);
}

/** The trackers of a run; it takes the training's events. */
export class Trackers {
  readonly #options: TrackersOptions;
  /** Those that send values in the background. */
  readonly #clients: readonly (MlflowRun | PythonClient)[];
  #tensorBoard: TensorBoardFile | null;
  #pictures: Promise<void> = Promise.resolve();

  /** @throws ConfigError for a tracker that is not set up; DataError when its folder can't be written. */
  constructor(options: TrackersOptions) {
    const { run, settings, step, warn } = options;
    const names = namesOf(settings);
    this.#options = options;
    this.#clients = [
      ...(names.includes('mlflow') ? [new MlflowRun(run, settings, warn)] : []),
      ...PYTHON_CLIENTS.filter((name) => names.includes(name)).map(
        (name) => new PythonClient(name, run, settings, warn),
      ),
    ];
    this.#tensorBoard = names.includes('tensorboard') ? new TensorBoardFile(run, step) : null;
    if (this.#tensorBoard !== null) this.#pictures = this.#attention(step); // before training
  }

  observe(event: TrainEvent): void {
    const found = scalarsOf(event);
    if (found !== null) {
      for (const client of this.#clients) client.scalars(found.step, found.values);
      this.#toTensorBoard((file) => file.scalars(found.step, found.values));
    }
    if (event.type === 'checkpoint' && this.#tensorBoard !== null)
      this.#pictures = this.#pictures.then(() => this.#attention(event.step));
  }

  /** @param isDone - Whether the training reached its end. */
  async close(isDone: boolean): Promise<void> {
    await this.#pictures;
    this.#toTensorBoard((file) => file.close());
    await Promise.all(this.#clients.map((client) => client.close(isDone ? 'FINISHED' : 'KILLED')));
  }

  /** A file that can't be written any more is given up, with a line that says so. */
  #toTensorBoard(use: (file: TensorBoardFile) => void): void {
    if (this.#tensorBoard === null) return;
    try {
      use(this.#tensorBoard);
    } catch (error) {
      this.#tensorBoard = null;
      this.#options.warn(
        `--log tensorboard: ${messageOf(error)}. From here on only metrics.jsonl has the values`,
      );
    }
  }

  /** The watched images' attention at a checkpoint, the mean of all heads. */
  async #attention(step: number): Promise<void> {
    try {
      for (const image of listWatched(this.#options.run)) {
        if (!image.steps.includes(step)) continue;
        const { mean, rows, columns } = readFrame(image, step);
        const pixels = heatMap(mean);
        const png = await sharp(pixels, { raw: { width: columns, height: rows, channels: 3 } })
          .resize(image.width, image.height, { kernel: 'nearest' })
          .png()
          .toBuffer();
        this.#toTensorBoard((file) =>
          file.image(step, `attention/${image.name}`, png, image.width, image.height),
        );
      }
    } catch (error) {
      this.#options.warn(`--log tensorboard: attention of step ${step}: ${messageOf(error)}`);
    }
  }
}
