/**
 * A Slurm job that trains until it is done, however often the cluster stops it (in place of the reference's
 * run_with_submitit.py, with its defaults). `srun` starts one `dino train` per GPU; they read their ranks from Slurm's
 * variables. Before the time limit Slurm signals them, they write a checkpoint and exit with code 130, and the script
 * requeues the job. `--resume auto` then continues from the newest checkpoint.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, chmodSync, constants, readdirSync } from 'node:fs';
import path from 'node:path';
import { writeFileWhole } from '../files/atomic-file.js';
import { makeFolder } from '../files/guarded.js';
import { isBelow } from '../files/read-below.js';
import { printable } from '../plain/printable.js';
import { shellWord } from '../plain/shell.js';
import {
  checkCall,
  count,
  filePath,
  being,
  optionsOf,
  text,
  words,
  command,
} from '../plain/check-options.js';
import { ConfigError, DataError, EngineError } from '../errors.js';

export interface SlurmJob {
  /** Arguments of `dino train`, as typed. */
  train: readonly string[];
  /** The run folder that they name. */
  run: string;
  /** Program and first arguments that start `dino`, for example this Node and this package's bin/dino.js. */
  command: readonly string[];
  /** Where the job runs: relative paths in `train` start there. */
  folder: string;
  name: string;
  nodes: number;
  /** GPUs per node; 0 for none. */
  gpus: number;
  /** Processes per node: one per GPU. */
  tasks: number;
  /** Cores of each process: its loader workers, and on a CPU its arithmetic. */
  cpus: number;
  /** Slurm's formats: minutes, hours:minutes:seconds, days-hours, days-hours:minutes:seconds, ... */
  time: string;
  /** Seconds before the end at which the processes get the signal to write a checkpoint. */
  grace: number;
  /** How often to restart, within the job, after a process has failed or was lost. */
  maxRestarts: number;
  /** Memory per node, such as `320G`; null for the cluster's default. */
  mem: string | null;
  partition: string | null;
  account: string | null;
  qos: string | null;
  constraint: string | null;
  comment: string | null;
  /** Further options of sbatch, such as `--exclude=node7`. */
  sbatch: readonly string[];
  /** Lines of bash that run first: `module load ...`, `export NCCL_SOCKET_IFNAME=...`. */
  setup: readonly string[];
}

const TIME = /^(\d+|\d+:\d\d|\d+:\d\d:\d\d|\d+-\d+|\d+-\d+:\d\d|\d+-\d+:\d\d:\d\d)$/;

/** A value in a #SBATCH line, which knows double quotes and backslashes. */
const directive = (name: string, value: string | number): string => {
  const text = String(value);
  const quoted = /[^\w./:=,@%+-]/.test(text) ? `"${text.replaceAll(/["\\]/g, '\\$&')}"` : text;
  return `#SBATCH --${name}=${quoted}`;
};

function problemsOf(job: SlurmJob): string[] {
  const problems: string[] = [];
  if (!TIME.test(job.time)) {
    problems.push(
      `--time is ${job.time}; expected minutes, hours:minutes:seconds, days-hours or days-hours:minutes:seconds`,
    );
  }
  if (job.mem !== null && !/^\d+[KMGT]?$/.test(job.mem))
    problems.push(`--mem is ${job.mem}; expected a number followed by K, M, G or T`);
  const named = { ...job, 'working folder': job.folder, run: job.run };
  for (const [name, value] of Object.entries(named)) {
    if (typeof value === 'string' && /[\r\n]/.test(value))
      problems.push(`${name} has a line break, which a #SBATCH line can't hold`);
  }
  for (const option of job.sbatch) {
    if (!/^--?[a-zA-Z][^\r\n]*$/.test(option))
      problems.push(`--sbatch ${option}; expected an option of sbatch, such as --sbatch=--exclude=node7`);
  }
  if (job.gpus > 0 && job.tasks !== job.gpus)
    problems.push(`--tasks ${job.tasks} and --gpus ${job.gpus}: expected one process for each GPU`);
  return problems;
}

const wordOrNone = text.nullable();

const slurmJob = optionsOf<SlurmJob>(
  {
    ...{ train: words, run: filePath, command, folder: filePath, name: text },
    ...{ nodes: count(1), gpus: count(), tasks: count(1), cpus: count(1) },
    ...{ time: text, grace: count(), maxRestarts: count(), mem: wordOrNone },
    ...{ partition: wordOrNone, account: wordOrNone, qos: wordOrNone, constraint: wordOrNone },
    ...{ comment: wordOrNone, sbatch: words, setup: words },
  },
  {},
);

/**
 * The text of the job's script.
 * @throws ConfigError with every problem.
 */
export function slurmScript(job: SlurmJob): string {
  checkCall('slurmScript()', ['job', slurmJob, job]);
  const problems = problemsOf(job);
  if (problems.length > 0) throw new ConfigError(problems);
  const optional = (['mem', 'partition', 'account', 'qos', 'constraint', 'comment'] as const).flatMap(
    (name) => {
      const value = job[name];
      return value === null ? [] : [directive(name, value)];
    },
  );
  const words = [...job.command, 'train', ...job.train].map(shellWord);
  const head = [
    '#!/bin/bash',
    `# Trains until it is done: \`sbatch\` this file. Written by \`dino slurm\`; edit it as you like.`,
    directive('job-name', job.name),
    directive('nodes', job.nodes),
    directive('ntasks-per-node', job.tasks),
    directive('cpus-per-task', job.cpus),
    ...(job.gpus > 0 ? [directive('gpus-per-node', job.gpus)] : []),
    directive('time', job.time),
    ...optional,
    directive('chdir', job.folder),
    '# one log, however often the job is requeued',
    directive('output', path.join(job.run, 'slurm-%j.out')),
    '#SBATCH --open-mode=append',
    '#SBATCH --requeue',
    `# ${job.grace} s before the end of its time every process gets the signal to write a checkpoint`,
    directive('signal', `TERM@${job.grace}`),
    ...job.sbatch.map((option) => `#SBATCH ${option}`),
    '',
    'set -uo pipefail',
    ...job.setup,
  ];
  return `${head.join('\n')}

failures=0
while true; do
  # a start after a failure, like one after a requeue, goes on with what the first was given
  export DINO_RESTART_COUNT=$((\${SLURM_RESTART_COUNT:-0} + failures))
  # One process per task; they find each other through Slurm's variables. When one is lost, the others write a checkpoint
  # and exit by themselves: srun must not kill them first.
  srun --kill-on-bad-exit=0 --cpus-per-task=${job.cpus} \\
    ${words.join(' ')}
  code=$?
  case $code in
    0) exit 0 ;;
    130)
      echo "stopped with a checkpoint: requeueing"
      scontrol requeue "$SLURM_JOB_ID"
      exit $? ;;
    2) exit 2 ;; # wrong settings: a restart would not help
  esac
  failures=$((failures + 1))
  if [ "$failures" -gt ${job.maxRestarts} ]; then
    echo "failed with $code, and ${job.maxRestarts} restarts are used up" >&2
    exit "$code"
  fi
  echo "failed with $code: start $((failures + 1)), from the newest checkpoint" >&2
done
`;
}

/** Finds a program on PATH. */
function onPath(name: string): string | null {
  for (const folder of (process.env['PATH'] ?? '').split(path.delimiter)) {
    const file = path.join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // not in this folder
    }
  }
  return null;
}

/** Slurm itself opens its log in the run folder, and follows links. @throws DataError if a log there is a link. */
function refuseLinkedLogs(run: string): void {
  const link = readdirSync(run, { withFileTypes: true }).find(
    (entry) => /^slurm-.*\.out$/.test(entry.name) && !entry.isFile(),
  );
  if (link !== undefined)
    throw new DataError(
      `${printable(path.join(run, link.name))} is not a regular file: Slurm would write to wherever it leads`,
    );
}

export interface SubmittedJob {
  script: string;
  /** Slurm's job id; null when the script was only written. */
  job: string | null;
}

const submitting = being("true, false or 'auto'", (value) => typeof value === 'boolean' || value === 'auto');

/**
 * Writes the script and submits it.
 *
 * @param script - File to write; its folder is made.
 * @param submit - `auto` submits if `sbatch` is on PATH.
 * @throws ConfigError when the job is wrong, DataError when a link in the run folder is in the way, EngineError with
 *   sbatch's own message when it refuses.
 */
export function submitSlurmJob(
  job: SlurmJob,
  script: string,
  submit: boolean | 'auto' = 'auto',
): SubmittedJob {
  checkCall(
    'submitSlurmJob()',
    ['job', slurmJob, job],
    ['script', filePath, script],
    ['submit', submitting, submit],
  );
  const text = slurmScript(job);
  const run = path.resolve(job.folder, job.run);
  makeFolder(run, { within: run });
  refuseLinkedLogs(run);
  const within = isBelow(run, script) ? run : path.dirname(script);
  makeFolder(path.dirname(script), { within });
  writeFileWhole(script, text, { within });
  chmodSync(script, 0o755);
  const sbatch = submit === false ? null : onPath('sbatch');
  if (sbatch === null) {
    if (submit === true)
      throw new EngineError(
        `${printable(script)} was written, but sbatch is not on PATH: submit it from a login node`,
      );
    return { script, job: null };
  }
  const { status, stdout, stderr, error } = spawnSync(sbatch, ['--parsable', script], { encoding: 'utf8' });
  if (status !== 0)
    throw new EngineError(`sbatch refused ${printable(script)}: ${(error?.message ?? stderr).trim()}`, {
      cause: error,
    });
  return { script, job: stdout.trim().split(';')[0] ?? null };
}
