/** The backbone (and head) of any file of weights, by the reference's names, with its architecture. */
import { CheckpointError, ConfigError } from '../errors.js';
import { architectureEntry, backboneShapes, ownSizes, takesChannels } from '../models/index.js';
import { countChannels } from '../plain/channels.js';
import { type DType, ops, scope, type Tensor } from '../torch/index.js';
import { verifyCheckpointFile } from '../run/checkpoint-files.js';
import {
  type Architecture,
  backboneOptions,
  channelsOf,
  inferArchitecture,
  takesHeads,
  trainedSize,
} from './architecture.js';
import type { NormalizationName } from '../models/dinov3-architectures.js';
import { datasetOf } from './dataset.js';
import { completeLocalNorm } from './dinov3-names.js';
import { otherModel } from './known-others.js';
import { type LocatedWeights, locateWeights } from './locate.js';
import { type BackboneSources, backboneSources, customSources } from './names.js';
import {
  chooseNetwork,
  type ChosenNetwork,
  findNetworks,
  type FoundNetwork,
  nameOf,
  withoutWrappers,
} from './networks.js';
import { show } from './pickle-values.js';
import { contradiction, guessWarning, headsAreGuess, type ModelRecord, readRecord } from './record.js';
import type { WeightsEntry, WeightsFile } from './weights-entry.js';
import { openWeights } from './weights-file.js';

export interface NetworkOptions {
  /**
   * Which of several networks in a file: `teacher`, `student`, or part of its tensors' names (`momentum_encoder`).
   * Default: the teacher's, or the only one.
   */
  checkpointKey?: string | undefined;
  /** Attention heads of a lone weights file that doesn't say them; no tensor's shape depends on them. */
  numHeads?: number | undefined;
  /** How images are normalized, for weights of DINOv3 that don't say; see src/weights/dataset.ts. */
  normalization?: NormalizationName | undefined;
  /** Whether these are the weights of `--init`, whose flags have names of their own in messages. */
  isInit?: boolean | undefined;
  /** The backbone is a custom one: its architecture is not read off the tensors; loadModel() fills in its width. */
  custom?: boolean | undefined;
}

/** The flag of an option, for messages. */
const flagFor = (option: 'checkpoint-key' | 'normalization', { isInit = false }: NetworkOptions): string =>
  isInit ? `--init-${option}` : `--${option}`;

export interface Network {
  located: LocatedWeights;
  /** Names, shapes, origin; closed. */
  file: WeightsFile;
  found: BackboneSources;
  architecture: Architecture;
  /** The number of heads is a guess: neither the file nor the caller says it, and others would fit. */
  headsAreGuess: boolean;
  /** The key by which the same network is found again. */
  checkpointKey: string;
  /** Its name in the file; null for a network without one. */
  name: string | null;
  /** Names of the other networks in the file. */
  others: string[];
  /** Choices that the caller may want to know of. */
  notes: string[];
  /** Possible problems. */
  warnings: string[];
  /** CPU tensors by the reference's names. */
  backbone: Map<string, Tensor>;
  /** The DINO head's by the reference's names (`mlp.0.weight`, ...); null without one, or unless `withHead`. */
  head: Map<string, Tensor> | null;
}

/** What openNetwork() finds without reading a tensor. */
export type NetworkHeader = Omit<Network, 'backbone' | 'head'>;

/** Functions that a malicious pickle calls. */
const RUNS =
  /^(?:(?:os|posix|nt|subprocess|sys|shutil|socket|ctypes|importlib|runpy|pty|commands|webbrowser|urllib|http|requests|pickle|marshal|code|bdb|pdb|timeit|cProfile|asyncio|multiprocessing|tempfile|torch\.hub)(?:\.|$)|(?:builtins|__builtin__)\.(?:eval|exec|execfile|compile|open|__import__|apply|breakpoint)$)/;

/** Names in a line of a warning. */
const listed = (names: readonly string[]): string =>
  names.slice(0, 4).map(show).join(', ') + (names.length > 4 ? `, ${names.length - 4} more` : '');

/**
 * Opens WEIGHTS and identifies them; the result can be read and fits its model. Dispose of `file` when done.
 * @throws CheckpointError when there are none, or not of a known backbone: it names every missing, unexpected, wrongly
 *   shaped and unreadable tensor. ConfigError for an invalid number of heads.
 */
export function openNetwork(weights: string, options: NetworkOptions = {}): NetworkHeader {
  const located = locateWeights(weights, options.checkpointKey);
  const { numHeads } = options;
  if (numHeads !== undefined && !(Number.isInteger(numHeads) && numHeads > 0))
    throw new ConfigError(`numHeads ${numHeads}; expected a whole number above 0`);
  const file = openWeights(located.file, located.within ?? undefined);
  try {
    return options.custom === true || located.settings?.arch === 'custom'
      ? ofCustom(located, file, options)
      : ofKnown(located, file, options);
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

function ofCustom(located: LocatedWeights, file: WeightsFile, options: NetworkOptions): NetworkHeader {
  if (options.custom !== true) {
    throw new CheckpointError(
      `${located.file} is a custom backbone (arch custom): in code, give loadModel() its builder as ` +
        '`backbone`; commands know only the named architectures',
    );
  }
  const { settings } = located;
  const imgSize = settings?.imgSize ?? settings?.globalCropsSize ?? 224;
  return {
    ...{ located, file, found: customSources(shapesOf(file)), headsAreGuess: false },
    architecture: { arch: 'custom', embedDim: 0, depth: 1, numHeads: 0, patchSize: 1, imgSize },
    checkpointKey: located.key ?? options.checkpointKey ?? 'teacher',
    ...{ name: null, others: [], notes: [], warnings: [] },
  };
}

const shapesOf = (file: WeightsFile): Map<string, readonly number[]> =>
  new Map(file.entries.map(({ name, shape }) => [name, shape]));

function ofKnown(located: LocatedWeights, file: WeightsFile, options: NetworkOptions): NetworkHeader {
  const { file: where } = located;
  const notes: string[] = [];
  const warnings: string[] = [];
  // in a checkpoint, the key has already chosen the file
  const key = located.key === null ? options.checkpointKey : undefined;
  const keyFlag = flagFor('checkpoint-key', options);
  const { network, others } = networkOf(file, key, where, keyFlag);
  const entries = new Map(file.entries.map((entry) => [entry.name, entry]));
  const dict = (name: string): string => entries.get(name)?.dict ?? '';
  const shapes = shapesOf(file);
  const numHeads = options.numHeads ?? located.numHeads;
  const found = backboneSources(shapes, network, others, where, { dict, numHeads });
  const { architecture, isGuess } = architectureOf({
    ...{ located, file, network, found, options, dict, notes, warnings },
  });
  assertFit(found, architecture, entries, where);
  if (found.makes.has('mask_token'))
    notes.push(
      `${where} has no mask_token, which only the original's own training uses: zeros take its place`,
    );
  if (isGuess) warnings.push(guessWarning(where, architecture));
  const suspicious = file.standIns.filter((name) => RUNS.test(name));
  if (suspicious.length > 0)
    warnings.push(
      `${where} names ${listed(suspicious)}, which weights do not need. None of it was run here, and the tensors ` +
        'are plain data; torch.load(weights_only=False) of this file would run it',
    );
  if (found.strange.length > 0)
    warnings.push(`${where}: not used, although they may affect the features: ${listed(found.strange)}`);
  if (others.length > 0) {
    notes.push(
      `${where} has ${others.length + 1} networks: ${nameOf(network)} is taken; ${keyFlag} takes another: ` +
        others.map(nameOf).join(', '),
    );
  } else if (network.role === 'student' && options.checkpointKey === undefined)
    notes.push(`${where} has one network, ${nameOf(network)}: it is taken; there is no teacher's`);
  const byRole = network.role === 'student' ? nameOf(network) : 'teacher';
  const checkpointKey = located.key ?? options.checkpointKey ?? byRole;
  return {
    ...{ located, file, found, architecture, headsAreGuess: isGuess, checkpointKey, notes, warnings },
    ...{ name: network.label === '' ? null : nameOf(network), others: others.map(nameOf) },
  };
}

/** The chosen network; the whole of a file without networks, so that what is missing is named. */
function networkOf(
  file: WeightsFile,
  key: string | undefined,
  where: string,
  keyFlag: string,
): ChosenNetwork {
  const found = findNetworks(file.entries.map(({ name }) => name));
  if (found.length === 0) {
    const prefix = sharedPrefix(file.entries.map(({ name }) => name));
    return { network: { prefix, label: '', role: null, isWhole: false }, others: [] };
  }
  const placesOf = (network: FoundNetwork): string =>
    file.entries
      .filter(({ name }) => name.startsWith(network.prefix))
      .map(({ place }) => place)
      .sort()
      .join('\n');
  return chooseNetwork(found, key, { where, keyFlag, isSame: (a, b) => placesOf(a) === placesOf(b) });
}

/** The name or prefix without its last part: `a.b.` of `a.b.c` and of `a.b.c.`. */
const dictOf = (name: string): string => name.slice(0, name.slice(0, -1).lastIndexOf('.') + 1);

/** The prefix of whole parts that all names share. */
function sharedPrefix(names: readonly string[]): string {
  let shared = names[0] ?? '';
  while (shared !== '' && !names.every((name) => name.startsWith(shared))) shared = dictOf(shared);
  return shared.endsWith('.') ? shared : '';
}

interface Known {
  located: LocatedWeights;
  file: WeightsFile;
  network: FoundNetwork;
  found: BackboneSources;
  options: NetworkOptions;
  dict: (name: string) => string;
  notes: string[];
  warnings: string[];
}

/** By the tensors, and where they don't tell by the caller, the run, a config.json or the file's own record. */
function architectureOf({ located, file, network, found, options, dict, notes, warnings }: Known): {
  architecture: Architecture;
  isGuess: boolean;
} {
  const { file: where, settings } = located;
  const [home = ''] = [...found.sources.values()].slice(0, 1).map(([name = '']) => dict(name));
  const other = otherModel(network.isWhole ? found.shapes : shapesBelow(file, network.prefix));
  if (other !== null) throw new CheckpointError(`${where} holds weights of ${other}: not read yet`);
  const byTensors = inferArchitecture(found.shapes.size > 0 ? found.shapes : shapesOf(file), where);
  const said = recordFor(file, home);
  const wrong = said === null ? null : contradiction(said, byTensors);
  if (wrong !== null)
    warnings.push(`${where} says of itself ${wrong}: its record is of other weights, and is not used`);
  const record: ModelRecord | null = wrong === null ? said : null;
  const { numHeads } = options;
  if (numHeads !== undefined && byTensors.numHeads === 0)
    throw new ConfigError(
      `--num-heads ${numHeads}: ${where} is a ${byTensors.arch}, which has no attention heads`,
    );
  if (numHeads !== undefined && !takesHeads(byTensors) && numHeads !== byTensors.numHeads)
    throw new ConfigError(
      `--num-heads ${numHeads}: ${where} is a ${byTensors.arch}, which has ${byTensors.numHeads}`,
    );
  const known = located.numHeads ?? record?.numHeads ?? null;
  if (numHeads !== undefined && known !== null && known !== numHeads && byTensors.numHeads > 0)
    warnings.push(`${where}: --num-heads ${numHeads} is taken, where the file says ${known}`);
  const told = numHeads ?? (takesHeads(byTensors) ? known : null) ?? undefined;
  const architecture = inferArchitecture(found.shapes, where, told);
  architecture.imgSize = trainedSize(architecture, settings, record?.imgSize);
  const isMade = found.makes.has('rope_embed.periods') && ownSizes(architecture.arch).includes('numHeads');
  const isUntold = isMade ? (numHeads ?? known) === null : told === undefined;
  const isGuess = isUntold && (isMade || headsAreGuess(architecture, network.prefix));
  const input = settings?.channels === undefined ? record?.input : channelsOf(settings);
  Object.assign(architecture, inputFor(found.shapes, input ?? {}, where));
  const dataset = datasetOf(architecture, {
    asked: options.normalization,
    arch: settings?.arch ?? record?.arch ?? null,
    mean: located.imageMean ?? null,
    file: where,
    isOriginal: !found.makes.has('rope_embed.periods'),
    flag: flagFor('normalization', options),
  });
  architecture.arch = dataset.arch;
  if (dataset.note !== undefined) notes.push(dataset.note);
  if (dataset.warning !== undefined) warnings.push(dataset.warning);
  if (hasLocalNorm(dataset.arch)) completeLocalNorm(found);
  return { architecture, isGuess };
}

/**
 * What the first layer's tensor, and a run's settings or a file's record, say of the images.
 * @throws CheckpointError when they contradict each other, or nothing says how channels other than RGB are normalized
 */
function inputFor(
  shapes: ReadonlyMap<string, readonly number[]>,
  told: Pick<Architecture, 'channels' | 'mean' | 'std'>,
  where: string,
): Pick<Architecture, 'channels' | 'mean' | 'std'> {
  const [, stored = 3] = [...shapes].find(([name]) => takesChannels(name))?.[1] ?? [];
  if (told.channels !== undefined && told.channels !== stored)
    throw new CheckpointError(
      `${where} says that it takes images of ${countChannels(told.channels)}, but its first layer takes ${stored}`,
    );
  if (told.channels === undefined && stored !== 3)
    throw new CheckpointError(
      `${where} takes images of ${countChannels(stored)}, and nothing says how they are normalized: only such weights that ` +
        'dino-ts has written are read, since they record it',
    );
  return channelsOf(told);
}

const hasLocalNorm = (arch: string): boolean => {
  const entry = architectureEntry(arch);
  return entry?.family === 'dinov3' && entry.localNorm;
};

/** Shapes by the names without a prefix. */
const shapesBelow = (file: WeightsFile, prefix: string): Map<string, readonly number[]> =>
  new Map(
    file.entries
      .filter(({ name }) => name.startsWith(prefix))
      .map(({ name, shape }) => [withoutWrappers(name.slice(prefix.length)), shape]),
  );

/** The record beside a network's tensors, or of a dict around them. */
function recordFor(file: WeightsFile, dict: string): ModelRecord | null {
  for (let at = dict; ; at = dictOf(at)) {
    const record = readRecord(file.attributes(at));
    if (record !== null || at === '') return record;
  }
}

/** @throws CheckpointError that names every reason why the tensors don't fit this architecture. */
function assertFit(
  found: BackboneSources,
  architecture: Architecture,
  entries: ReadonlyMap<string, WeightsEntry>,
  where: string,
): void {
  let expected: Map<string, readonly number[]>;
  try {
    expected = backboneShapes(backboneOptions(architecture));
  } catch (error) {
    throw new CheckpointError(`${where}: ${(error as Error).message}`, { cause: error });
  }
  const problems = [...expected.keys()]
    .filter((name) => !found.shapes.has(name))
    .map((name) => `missing: ${name}`);
  for (const [name, shape] of found.shapes) {
    const wanted = expected.get(name);
    if (wanted === undefined) problems.push(`unexpected: ${show(name)}`);
    else if (wanted.join() !== shape.join())
      problems.push(`shape of ${name}: expected [${wanted.join(', ')}], got [${shape.join(', ')}]`);
    for (const from of wanted === undefined ? [] : (found.sources.get(name) ?? []))
      problems.push(...unreadable(name, from, entries));
  }
  refuse(problems, architecture, where);
}

/** @throws CheckpointError when a tensor of the head is not one that a layer can have. */
function assertHeadFits(header: NetworkHeader): void {
  const entries = new Map(header.file.entries.map((entry) => [entry.name, entry]));
  const problems = [...header.found.head].flatMap(([name, from]) => unreadable(name, from, entries));
  refuse(problems, header.architecture, header.file.file);
}

const FLOATS: ReadonlySet<string> = new Set<DType>(['float32', 'float64', 'float16', 'bfloat16']);

/** Says why a tensor `from` can't be `name` of the model; nothing when it can. */
function unreadable(name: string, from: string, entries: ReadonlyMap<string, WeightsEntry>): string[] {
  const problem = problemOf(name, entries.get(from));
  return problem === null ? [] : [`can't be read: ${show(from)} ${problem}`];
}

/** Of the model's tensors only counters are whole numbers. */
function problemOf(name: string, entry: WeightsEntry | undefined): string | null {
  if (entry === undefined || entry.problem !== null) return entry?.problem ?? null;
  if (FLOATS.has(entry.dtype) || name.endsWith('num_batches_tracked')) return null;
  return `is ${entry.dtype}, which weights of a layer can't be`;
}

/** @throws CheckpointError that lists the problems, if there are any. */
function refuse(problems: readonly string[], architecture: Architecture, where: string): void {
  if (problems.length === 0) return;
  const more = problems.length > MAX_PROBLEMS ? `\n  and ${problems.length - MAX_PROBLEMS} more` : '';
  throw new CheckpointError(
    `${where}: the weights don't fit a ${architecture.arch}:\n  ${problems.slice(0, MAX_PROBLEMS).join('\n  ')}${more}`,
  );
}

/** The most lines of an error. */
const MAX_PROBLEMS = 200;

/** Reads WEIGHTS. @throws CheckpointError when they can't be read, or are not of a known backbone. */
export function readNetwork(weights: string, options: NetworkOptions & { withHead?: boolean } = {}): Network {
  const header = openNetwork(weights, options);
  using file = header.file;
  const { found } = header;
  const wantsHead = options.withHead === true && found.head.size > 0;
  if (wantsHead) assertHeadFits(header);
  verifyCheckpointFile(header.located.file);
  try {
    const backbone = new Map(
      [...found.sources].map(([name, from]) => {
        const make = found.makes.get(name);
        if (make !== undefined) return [name, scope(() => make(from.map((each) => file.read(each))))];
        const [only, ...more] = from;
        if (more.length === 0) return [name, file.read(only as string)];
        return [name, scope(() => ops.cat(from.map((each) => file.read(each))))];
      }),
    );
    const head = wantsHead ? new Map([...found.head].map(([name, from]) => [name, file.read(from)])) : null;
    return { ...header, backbone, head };
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    throw new CheckpointError(`${header.located.file}: ${(error as Error).message}`, { cause: error });
  }
}
