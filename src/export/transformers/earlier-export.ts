/**
 * What a transformers export may replace: its files have names that a run, a model from Hugging Face and many other programs'
 * folders have too, so only those that say they are ours are.
 */
import { lstatSync } from 'node:fs';
import path from 'node:path';
import { ConfigError, DataError } from '../../errors.js';
import { readGuarded, readStart, refuseLinks, SMALL_FILE_BYTES } from '../../files/guarded.js';
import { checkNotInput, freeName } from '../../files/new-places.js';
import { fewNames } from '../../plain/few-names.js';
import { printable } from '../../plain/printable.js';
import { isRunFolder, readRunConfig } from '../../run/run-folder.js';
import { packageVersion } from '../../version.js';
import { PRODUCER } from '../onnx/export-onnx.js';

/** In our JSON files: transformers and transformers.js leave keys that they don't know alone. */
const MARK = 'exported_by';
export const marked = (config: Readonly<Record<string, unknown>>): Record<string, unknown> => ({
  ...config,
  [MARK]: `${PRODUCER} ${packageVersion}`,
});

export const CONFIG_FILE = 'config.json';
export const PREPROCESSOR_FILE = 'preprocessor_config.json';
export const MODEL_FILE = 'onnx/model.onnx';
/** The file with weights of 8 bits. */
export const QUANTIZED_FILE = 'onnx/model_quantized.onnx';
const ALL = [CONFIG_FILE, PREPROCESSOR_FILE, MODEL_FILE, QUANTIZED_FILE];

/** An ONNX file begins with the version of its format and the program that wrote it. */
const HEAD_BYTES = 64;

function isOurs(folder: string, name: string): boolean {
  const file = path.join(folder, name);
  try {
    if (name.endsWith('.json')) {
      const text = readGuarded(file, { within: folder, maxBytes: SMALL_FILE_BYTES }).toString('utf8');
      const by = (Object(JSON.parse(text)) as Record<string, unknown>)[MARK];
      return typeof by === 'string' && by.startsWith(`${PRODUCER} `);
    }
    return readStart(file, HEAD_BYTES, { within: folder }).includes(PRODUCER);
  } catch (error) {
    if (error instanceof DataError || error instanceof SyntaxError) return false;
    throw error;
  }
}

/** Whether config.json is that of a run, so that the message can say what it would have been the end of. */
function isRun(folder: string): boolean {
  if (!isRunFolder(folder)) return false;
  try {
    readRunConfig(folder);
    return true;
  } catch {
    return false;
  }
}

/**
 * Checks that what an export writes and deletes in a folder is nobody else's. Writes nothing.
 * @param inputs - The files that the weights were read from.
 * @throws ConfigError for a run's folder, files of another program or these inputs; DataError for a link on the way.
 */
export function checkReplaceable(folder: string, inputs: readonly string[]): void {
  const root = path.resolve(folder);
  const another = `give another folder, ${printable(freeName(folder))} is not taken`;
  if (isRun(root))
    throw new ConfigError(
      `${printable(folder)} is a run's folder, and the export would replace its ${CONFIG_FILE}: ${another}`,
    );
  const foreign = ALL.filter((name) => {
    const file = path.join(root, name);
    refuseLinks(root, path.dirname(file));
    if (lstatSync(path.dirname(file), { throwIfNoEntry: false })?.isDirectory() === false)
      throw new ConfigError(`${printable(path.dirname(file))} is a file, not a folder: ${another}`);
    if (lstatSync(file, { throwIfNoEntry: false }) === undefined) return false;
    checkNotInput(file, inputs);
    return !isOurs(root, name);
  }).map((name) => path.join(folder, name));
  if (foreign.length > 0)
    throw new ConfigError(
      `${fewNames(foreign, ALL.length)} ${foreign.length === 1 ? 'is' : 'are'} not of an earlier export of this kind, and would be replaced: ` +
        `move ${foreign.length === 1 ? 'it' : 'them'} away, or ${another}`,
    );
}
