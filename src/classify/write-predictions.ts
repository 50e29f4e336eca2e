/** Predictions as a file: .csv, .json or .jsonl, by its ending. Skipped images are in it too, so that no image is missing. */
import path from 'node:path';
import { writeFileWhole } from '../files/atomic-file.js';
import { assertWritable, makeFolderOf } from '../files/output.js';
import { ConfigError } from '../errors.js';
import { being, checkCall, filePath } from '../plain/check-options.js';
import type { Prediction, PredictResult } from './classifier.js';

export const PREDICTION_FORMATS = ['.csv', '.json', '.jsonl'] as const;
type Format = (typeof PREDICTION_FORMATS)[number];

const formatOf = (file: string): Format | null =>
  PREDICTION_FORMATS.find((ending) => ending === path.extname(file).toLowerCase()) ?? null;

/** RFC 4180: quoted where it has to be. */
const field = (value: string): string =>
  /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;

const rounded = (probability: number): number => Number(probability.toFixed(6));

const entryOf = ({ path: image, label, probability, runnerUp, runnerUpProbability }: Prediction) => ({
  ...{ path: image, label, probability: rounded(probability) },
  ...{ runnerUp, runnerUpProbability: rounded(runnerUpProbability) },
});

type Written = Pick<PredictResult, 'predictions' | 'classes' | 'skipped'>;

const WRITERS: Readonly<Record<Format, (result: Written) => string>> = {
  '.csv': ({ predictions, skipped }) =>
    [
      'path,label,probability,runner_up,runner_up_probability,skipped',
      ...predictions
        .map(entryOf)
        .map((one) => [...Object.values(one), ''].map((value) => field(String(value))).join()),
      ...skipped.map(({ path: image, reason }) => [image, '', '', '', '', reason].map(field).join()),
      '',
    ].join('\n'),
  '.json': ({ predictions, classes, skipped }) =>
    `${JSON.stringify({ classes, predictions: predictions.map(entryOf), skipped }, null, 2)}\n`,
  '.jsonl': ({ predictions, skipped }) =>
    [
      ...predictions.map(entryOf),
      ...skipped.map(({ path: image, reason }) => ({ path: image, skipped: reason })),
    ]
      .map((one) => `${JSON.stringify(one)}\n`)
      .join(''),
};

/** Checks, before the work begins, that predictions can be written. @throws ConfigError, DataError as writePredictions(). */
export function checkPredictionsFile(file: string): void {
  if (formatOf(file) === null)
    throw new ConfigError(`${file}: expected a name that ends in ${PREDICTION_FORMATS.join(', ')}`);
  assertWritable(file);
}

const written = being('the result of predict()', (value) => {
  const { predictions, classes, skipped } = Object(value) as Partial<PredictResult>;
  return [predictions, classes, skipped].every(Array.isArray);
});

/**
 * Writes predictions; the file is either whole or absent.
 *
 * @param file - Its ending says the format: `.csv` has a row for each image, those that were skipped at the end with the reason in
 *   the last column; `.jsonl` a line for each; `.json` an object with `classes`, `predictions` and `skipped`.
 * @throws ConfigError for any other ending; DataError when it can't be written.
 */
export function writePredictions(file: string, result: Written): void {
  checkCall('writePredictions()', ['file', filePath, file], ['result', written, result]);
  checkPredictionsFile(file);
  makeFolderOf(file);
  writeFileWhole(file, WRITERS[formatOf(file)!](result));
}
