/**
 * Resuming from a full checkpoint of the reference (main_dino.py: student, teacher, optimizer, epoch, args, dino_loss and,
 * with half precision, fp16_scaler). It was written at the end of an epoch, so the run continues with the next one; it
 * doesn't contain the random generators. Settings come from its `args`, unless flags override them.
 */
import { callback, checkCall, count, filePath, optionsOf } from '../plain/check-options.js';
import type { TrainingState } from '../dino/index.js';
import { CheckpointError } from '../errors.js';
import { noGrad, scope, tensor, type Tensor } from '../torch/index.js';
import { backboneSources } from '../weights/names.js';
import { findNetworks } from '../weights/networks.js';
import { inferArchitecture } from '../weights/architecture.js';
import { guessWarning, headsAreGuess } from '../weights/record.js';
import { PickleNamespace, show } from '../weights/pickle-values.js';
import { PthFile, PthTensor } from '../weights/pth.js';
import { checkSetting } from './config.js';
import { settingOf, type TrainSettings } from '../run/settings.js';
import { settingsOfArchitecture, settingsOfHead } from './init.js';

type Dict = ReadonlyMap<unknown, unknown>;

/** Settings that belong to the machine that it was trained on. */
const OF_THE_MACHINE: readonly string[] = ['numWorkers', 'device', 'threads'];

/** The parts of a checkpoint; the constructor checks that they exist. */
class OfficialCheckpoint implements Disposable {
  readonly epoch: number;
  readonly args: ReadonlyMap<string, unknown>;
  readonly #pth: PthFile;
  readonly #root: Dict;

  constructor(readonly file: string) {
    this.#pth = new PthFile(file);
    try {
      const { value } = this.#pth;
      const missing = ['student', 'teacher', 'optimizer', 'epoch', 'args', 'dino_loss'].filter(
        (name) => !(value instanceof Map && value.has(name)),
      );
      if (missing.length > 0) {
        throw new CheckpointError(
          `${file} is not a full checkpoint of the reference: it has no ${missing.join(', ')}. Weights without the rest ` +
            'can start a new training: --init',
        );
      }
      this.#root = value as Dict;
      const { epoch, args } = Object.fromEntries(this.#root) as { epoch: unknown; args: unknown };
      if (!Number.isSafeInteger(epoch) || (epoch as number) < 0)
        throw new CheckpointError(`${file}: its epoch is ${show(String(epoch))}`);
      if (!(args instanceof PickleNamespace))
        throw new CheckpointError(`${file}: its args are not an argparse.Namespace`);
      this.epoch = epoch as number;
      this.args = args.entries;
    } catch (error) {
      this.#pth.close();
      throw error;
    }
  }

  dict(name: string, from: Dict = this.#root): Dict {
    const found = from.get(name);
    if (found instanceof Map) return found as Dict;
    throw new CheckpointError(`${this.file}: ${name} is not a dict`);
  }

  get scaler(): Dict | null {
    const found = this.#root.get('fp16_scaler');
    return found instanceof Map ? (found as Dict) : null;
  }

  /** Tensors of a network by name, without DistributedDataParallel's prefix. */
  network(name: string): Map<string, PthTensor> {
    const tensors = new Map<string, PthTensor>();
    for (const [key, value] of this.dict(name))
      if (typeof key === 'string' && value instanceof PthTensor)
        tensors.set(key.replace(/^module\./, ''), value);
    return tensors;
  }

  read(value: PthTensor): Tensor {
    return this.#pth.tensor(value);
  }

  [Symbol.dispose](): void {
    this.#pth.close();
  }
}

export interface CheckpointSettingsOptions {
  /** Number of attention heads, for sizes that are not the reference's. */
  numHeads?: number | undefined;
  /** Called when the number of heads is a guess. */
  onWarning?: (message: string) => void;
}

const checkpointSettings = optionsOf<CheckpointSettingsOptions>(
  {},
  { numHeads: count(1), onWarning: callback },
);

/**
 * The settings of a full checkpoint: its `args`, with architecture and head inferred from its tensors. A batch that the
 * reference spread over several processes becomes one batch here, computed in parts.
 * @param options - Number of attention heads for sizes that are not the reference's, and a callback for when it is a guess.
 * @throws CheckpointError when the file is not a full checkpoint, or one of its settings is not possible here.
 */
export function settingsOfCheckpoint(
  file: string,
  options: CheckpointSettingsOptions = {},
): Partial<TrainSettings> {
  checkCall('settingsOfCheckpoint()', ['file', filePath, file], ['options', checkpointSettings, options]);
  using checkpoint = new OfficialCheckpoint(file);
  const settings: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const [key, value] of checkpoint.args) {
    const name = settingOf(key);
    if (name === null || value === null || OF_THE_MACHINE.includes(name)) continue;
    const plain: unknown = Array.isArray(value) ? [...(value as unknown[])] : value;
    const problem = checkSetting(name, plain);
    if (problem === null) settings[name] = plain;
    else problems.push(`${key} is ${show(JSON.stringify(plain))}; ${problem}`);
  }
  if (problems.length > 0) throw new CheckpointError(`${file}: args: ${problems.join('\n')}`);
  if (checkpoint.args.get('use_fp16') === false) settings['precision'] = 'fp32';
  const processes = checkpoint.args.get('world_size');
  const each = settings['batchSize'];
  if (typeof processes === 'number' && processes > 1 && typeof each === 'number') {
    settings['batchSize'] = each * processes;
    settings['microBatchSize'] = each;
  }
  const shapes = new Map([...checkpoint.network('student')].map(([name, { shape }]) => [name, shape]));
  const [network = { prefix: '' }] = findNetworks(shapes.keys());
  const found = backboneSources(shapes, network, [], file);
  const { numHeads, onWarning } = options;
  const architecture = inferArchitecture(found.shapes, file, numHeads);
  if (numHeads === undefined && headsAreGuess(architecture, network.prefix))
    onWarning?.(guessWarning(file, architecture));
  return {
    ...(settings as Partial<TrainSettings>),
    ...settingsOfArchitecture(architecture),
    ...settingsOfHead(found.head, shapes),
  };
}

/**
 * Loads a full checkpoint into a newly built state.
 *
 * @returns The number of epochs completed.
 * @throws CheckpointError that names everything that doesn't fit.
 */
export function loadOfficialCheckpoint(file: string, state: TrainingState): number {
  using checkpoint = new OfficialCheckpoint(file);
  try {
    scope(() => {
      const order = checkpoint.network('student');
      for (const name of ['student', 'teacher'] as const) {
        const tensors = name === 'student' ? order : checkpoint.network(name);
        state[name].loadStateDict(new Map([...tensors].map(([key, value]) => [key, checkpoint.read(value)])));
      }
      const center = checkpoint.dict('dino_loss').get('center');
      if (!(center instanceof PthTensor)) throw new CheckpointError('dino_loss.center is missing');
      if (center.shape.join() !== state.loss.center.shape.join()) {
        throw new CheckpointError(
          `dino_loss.center: expected [${state.loss.center.shape.join(', ')}], got [${center.shape.join(', ')}]`,
        );
      }
      noGrad(() => state.loss.center.copy_(checkpoint.read(center)));
      state.optimizer.loadStateDict(optimizerState(checkpoint, state, [...order.keys()]));
      const { scaler } = checkpoint;
      const [scale, good] = [scaler?.get('scale'), scaler?.get('_growth_tracker')];
      if (state.scaler.enabled && typeof scale === 'number' && typeof good === 'number')
        state.scaler.setState(tensor([scale, good], { dtype: 'float64' }));
    });
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    throw new CheckpointError(`${file}: ${error.message}`, { cause: error });
  }
  return checkpoint.epoch;
}

/**
 * The optimizer's tensors by parameter. PyTorch numbers the parameters: those of the first group in the order of the model,
 * then those of the second (utils.py get_params_groups).
 */
function optimizerState(
  checkpoint: OfficialCheckpoint,
  state: TrainingState,
  order: readonly string[],
): Map<string, Tensor> {
  const trained = new Map(
    [...state.student.namedParameters()].filter(([, parameter]) => parameter.requiresGrad),
  );
  const names = order.filter((name) => trained.has(name));
  const isPlain = (name: string): boolean => name.endsWith('.bias') || trained.get(name)?.ndim === 1;
  const numbered = [...names.filter((name) => !isPlain(name)), ...names.filter(isPlain)];
  const saved = checkpoint.dict('optimizer');
  const groups = saved.get('param_groups');
  const sizes = (Array.isArray(groups) ? (groups as unknown[]) : []).map((group) => {
    const params: unknown = group instanceof Map ? group.get('params') : null;
    return Array.isArray(params) ? params.length : 0;
  });
  const expected = [numbered.filter((name) => !isPlain(name)).length, numbered.filter(isPlain).length];
  if (sizes.join() !== expected.join()) {
    throw new CheckpointError(
      `optimizer: expected groups of ${expected.join(' and ')} parameters, got ${sizes.join(' and ') || 'none'}; ` +
        '--norm-last-layer must have its original value',
    );
  }
  const entries = new Map<string, Tensor>();
  for (const [index, slots] of checkpoint.dict('state', saved)) {
    const name = typeof index === 'number' ? numbered[index] : undefined;
    if (name === undefined || !(slots instanceof Map))
      throw new CheckpointError(`optimizer: its state has an unknown parameter ${show(String(index))}`);
    for (const [slot, value] of slots as Dict) {
      // step was a plain number before PyTorch 1.12; SGD's buffer is None before its first step
      if (value === null) continue;
      const isNumber = typeof value === 'number';
      if (typeof slot !== 'string' || !(isNumber || value instanceof PthTensor))
        throw new CheckpointError(
          `optimizer: the state of ${name} has ${show(String(slot))}, which is not a tensor`,
        );
      entries.set(`${slot}.${name}`, isNumber ? tensor(value) : checkpoint.read(value));
    }
  }
  return entries;
}
