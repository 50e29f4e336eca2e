/** Where an evaluation's result is kept: `evaluations/NAME.json` of the run that the weights belong to. */
import path from 'node:path';
import { being, checkCall, filePath } from '../plain/check-options.js';
import { writeFileWhole } from '../files/atomic-file.js';
import { makeFolder } from '../files/guarded.js';
import { evaluationsPath } from '../run/run-folder.js';
import { locateWeights } from '../weights/locate.js';

/** Names of the evaluations, as in `dino eval NAME`. */
export type EvaluationName = 'knn' | 'linear' | 'retrieval' | 'copy-detection' | (string & {});

/** The run folder that a weights file lies in; null for a lone file. */
export function runOfWeights(weightsFile: string): string | null {
  return locateWeights(weightsFile).run;
}

/** Becomes a file's name. */
const evaluationName = being(
  'a name of letters, digits, _ and -',
  (value) => typeof value === 'string' && /^[\w-]+$/.test(value),
);
const resultObject = being(
  'an object',
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
);

/**
 * Keeps the result of an evaluation with its run, written to a temporary file and renamed; an earlier one with the same
 * name is replaced.
 *
 * @param weightsFile - The file that the model was loaded from (`model.file`).
 * @param result - The evaluation's results and its options, as JSON values.
 * @returns The file, or null when the weights do not belong to a run.
 * @throws DataError when it can't be written, or a link is in the path.
 */
export function saveEvaluation(weightsFile: string, name: EvaluationName, result: object): string | null {
  checkCall(
    'saveEvaluation()',
    ['weightsFile', filePath, weightsFile],
    ['name', evaluationName, name],
    ['result', resultObject, result],
  );
  const { run, step } = locateWeights(weightsFile);
  if (run === null) return null;
  const file = path.join(evaluationsPath(run), `${name}.json`);
  const weights = path.relative(run, weightsFile).split(path.sep).join('/');
  const entry = { evaluation: name, date: new Date().toISOString(), weights, step, ...result };
  makeFolder(path.dirname(file), { within: run });
  writeFileWhole(file, `${JSON.stringify(entry, null, 2)}\n`, { within: run });
  return file;
}
