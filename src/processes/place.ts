/**
 * Which process this is, and of how many, according to the environment variables that a launcher sets. Supported are
 * torchrun, Kubeflow's PyTorchJob and `dino train --nproc` (RANK, WORLD_SIZE, ...), Slurm's srun, and the mpirun of Open MPI,
 * MPICH and Intel MPI.
 */
import { checkCall, variables } from '../plain/check-options.js';
import { ConfigError } from '../errors.js';

export type Launcher = 'dino' | 'torchrun' | 'environment' | 'slurm' | 'openmpi' | 'pmi';

/** A process's place among those that train together. */
export interface Place {
  launcher: Launcher;
  /** 0 to size - 1. */
  rank: number;
  size: number;
  /** Its number on its machine, and how many run there: they determine its device and its share of the cores. */
  localRank: number;
  localSize: number;
  /** Where rank 0 keeps the store. */
  host: string;
  port: number;
  /** The launcher keeps the store itself (torchrun's agent). */
  agentStore: boolean;
  /** How often the launcher has started these processes before. */
  attempt: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** PyTorch's own default. */
export const DEFAULT_PORT = 29500;

/** The variables with which each launcher gives rank and size, in the order in which they are tried. */
const KINDS = [
  { kind: 'environment', rank: 'RANK', size: 'WORLD_SIZE', local: 'LOCAL_RANK', locals: 'LOCAL_WORLD_SIZE' },
  // only srun sets the step's size: inside a batch script without srun there is one process, whatever SLURM_NTASKS says
  {
    kind: 'slurm',
    rank: 'SLURM_PROCID',
    size: 'SLURM_STEP_NUM_TASKS',
    local: 'SLURM_LOCALID',
    locals: undefined,
  },
  {
    kind: 'openmpi',
    rank: 'OMPI_COMM_WORLD_RANK',
    size: 'OMPI_COMM_WORLD_SIZE',
    local: 'OMPI_COMM_WORLD_LOCAL_RANK',
    locals: 'OMPI_COMM_WORLD_LOCAL_SIZE',
  },
  { kind: 'pmi', rank: 'PMI_RANK', size: 'PMI_SIZE', local: 'MPI_LOCALRANKID', locals: 'MPI_LOCALNRANKS' },
] as const;

/** The elements of Slurm's compressed list: split at commas that are not in brackets. */
function elementsOf(list: string): string[] {
  const elements = list.match(/(?:\[\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*\]|[^,[\]])+/g) ?? [];
  if (elements.join() !== list)
    throw new ConfigError(
      `${list} is not one of Slurm's lists of nodes, as gpu[01-04,7],login: set MASTER_ADDR`,
    );
  return elements;
}

/** The numbers of `01-03,7`, padded as they are written there. */
function* numbersOf(ranges: string): Generator<string, void> {
  for (const range of ranges.split(',')) {
    const [first = '', last = first] = range.split('-');
    for (let i = Number(first); i <= Number(last); i++) yield String(i).padStart(first.length, '0');
  }
}

/** Names of one element: of several brackets the last one counts fastest, as in Slurm. */
function* namesOf(element: string): Generator<string, void> {
  const [, head = '', ranges, tail = ''] = /^([^[]*)(?:\[([^\]]*)\](.*))?$/.exec(element) ?? [];
  if (ranges === undefined) yield head;
  else for (const number of numbersOf(ranges)) for (const rest of namesOf(tail)) yield head + number + rest;
}

/**
 * Host names of Slurm's compressed list, one by one: `gpu[01-02,7],login` -> gpu01, gpu02, gpu7, login;
 * `rack[1-2]node[01-02]` -> rack1node01, rack1node02, rack2node01, rack2node02.
 * @throws ConfigError for what is not such a list.
 */
export function* expandNodeList(list: string): Generator<string, void> {
  for (const element of elementsOf(list)) yield* namesOf(element);
}

/** Tasks on one node of Slurm's compressed list: `2(x3),1` is 2, 2, 2, 1. */
export function tasksOnNode(list: string, node: number): number | undefined {
  const counts = list.split(',').flatMap((part) => {
    const [, count = '1', times = '1'] = /^(\d+)(?:\(x(\d+)\))?$/.exec(part) ?? [];
    return Array<number>(Number(times)).fill(Number(count));
  });
  return counts[node];
}

/** Where Slurm's rank 0 runs, and a port that differs between jobs on one machine. */
function slurmMaster(env: Environment): {
  host: string | undefined;
  port: number;
  locals: number | undefined;
} {
  const nodes = env['SLURM_STEP_NODELIST'] ?? env['SLURM_JOB_NODELIST'] ?? env['SLURM_NODELIST'];
  const perNode = env['SLURM_STEP_TASKS_PER_NODE'] ?? env['SLURM_TASKS_PER_NODE'];
  const job = Number(env['SLURM_JOB_ID'] ?? 0) + Number(env['SLURM_STEP_ID'] ?? 0);
  return {
    host:
      nodes === undefined || env['MASTER_ADDR'] !== undefined
        ? undefined
        : (expandNodeList(nodes).next().value ?? undefined),
    port: 10_000 + (job % 20_000), // below the ephemeral ports
    locals: perNode === undefined ? undefined : tasksOnNode(perNode, Number(env['SLURM_NODEID'] ?? 0)),
  };
}

/** How often a launcher or a queue has already started this process. */
export function restartCount(env: Environment = process.env): number {
  const names = ['TORCHELASTIC_RESTART_COUNT', 'DINO_RESTART_COUNT', 'SLURM_RESTART_COUNT'];
  return Number(names.map((name) => env[name]).find((value) => value !== undefined) ?? 0) || 0;
}

/**
 * Reads this process's place from the environment; null when it was not started with others.
 * @throws ConfigError that names every variable that is missing or wrong.
 */
export function placeFromEnvironment(env: Environment = process.env): Place | null {
  checkCall('placeFromEnvironment()', ['env', variables, env]);
  const found = KINDS.find(({ rank, size }) => env[rank] !== undefined && env[size] !== undefined);
  if (found === undefined) return null;
  const problems: string[] = [];
  const number = (name: string | undefined, fallback: number, least: number): number => {
    const raw = name === undefined ? undefined : env[name];
    if (raw === undefined || raw === '') return fallback;
    const value = Number(raw);
    if (!Number.isInteger(value) || value < least)
      problems.push(`${name} is ${raw}; expected a whole number, at least ${least}`);
    return value;
  };
  const slurm = found.kind === 'slurm' ? slurmMaster(env) : undefined;
  const size = number(found.size, 1, 1);
  const rank = number(found.rank, 0, 0);
  const localRank = number(found.local, 0, 0);
  const localSize = number(found.locals, slurm?.locals ?? localRank + 1, 1);
  const port = number('MASTER_PORT', slurm?.port ?? DEFAULT_PORT, 1);
  const isTorchrun = env['TORCHELASTIC_RUN_ID'] !== undefined;
  const isOneMachine = found.kind !== 'environment' && localSize === size;
  const host = env['MASTER_ADDR'] ?? slurm?.host ?? (isOneMachine ? '127.0.0.1' : undefined);
  if (rank >= size)
    problems.push(`${found.rank} is ${rank}, but ${found.size} is ${size}: ranks are 0 to ${size - 1}`);
  if (host === undefined && size > 1)
    problems.push(
      `MASTER_ADDR is missing: set it to the name or address of rank 0's machine, for all ${size} processes`,
    );
  if (problems.length > 0) throw new ConfigError(problems);
  const named = isTorchrun ? 'torchrun' : env['DINO_LAUNCHER'] === undefined ? found.kind : 'dino';
  return {
    launcher: named,
    ...{ rank, size, localRank, localSize, port },
    attempt: restartCount(env),
    host: host ?? '127.0.0.1',
    agentStore: /^true$/i.test(env['TORCHELASTIC_USE_AGENT_STORE'] ?? ''),
  };
}
