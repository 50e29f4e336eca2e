/** `dino slurm`: a job script for `dino train`, submitted where there is an sbatch. */
import type { Command } from 'commander';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { shellPath } from '../../plain/shell.js';
import { readOverrides } from '../../train/config.js';
import { SETTING_NAMES } from '../../run/settings.js';
import { addExamples, check, type Invocation, readCommandLine, readNumber, wordsOption } from '../command.js';
import * as trainCommand from './train.js';

export function define(command: Command): void {
  command
    .argument('<train...>', 'what `dino train` gets, after --')
    .usage('[options] -- <images> --output RUN [options of dino train]')
    .option('--nodes <n>', 'machines', '1')
    .option('--gpus <n>', 'GPUs on each, with one process each; 0 for none', '8')
    .option('--tasks <n>', 'processes on each (with --gpus 0)')
    .option('--cpus <n>', 'cores of each process', '10')
    .option('--mem <size>', 'memory of each machine, as 320G')
    .option(
      '--time <limit>',
      'time of one job; when it is over, the job goes into the queue again',
      '1-00:00:00',
    )
    .option('--partition <name>', "sbatch's --partition")
    .option('--account <name>', "sbatch's --account")
    .option('--qos <name>', "sbatch's --qos")
    .option('--constraint <list>', "sbatch's --constraint, as volta32gb")
    .option('--comment <text>', "sbatch's --comment")
    .option('--name <name>', 'name of the job', 'dino')
    .option('--grace <seconds>', 'how long before the end of its time to write a checkpoint', '120')
    .option('--max-restarts <n>', 'how often to start again after a process has failed or was lost', '3');
  command
    .addOption(
      wordsOption(command.createOption('--setup <line...>', 'lines of bash to run first, each in quotes')),
    )
    .option(
      '--sbatch <options>',
      'more options of sbatch, with commas between: --sbatch=--exclude=n7,--exclusive',
    )
    .option('--script <file>', 'the script to write (default: RUN/job.sh)')
    .option('--no-submit', 'only write it');
  addExamples(
    command,
    'dino slurm --nodes 2 --gpus 8 --partition gpu --time 2-00:00:00 -- imagenet/train --output runs/vits16 --preset paper',
  );
}

/** What the job's `dino train` would say to its command line, now rather than when its turn comes. */
function readTraining(words: readonly string[]): {
  run: string | null;
  isResume: boolean;
  problems: string[];
} {
  const { args, options, problems } = readCommandLine(trainCommand, 'dino train', words);
  const given = options['resume'] as string | undefined;
  const output = options['output'] as string | undefined;
  const isResume = given !== undefined && output === undefined;
  const found = problems.filter((problem) => !problem.startsWith('argument <images>'));
  if (!isResume && args[0] === undefined && options['dataPath'] === undefined)
    found.push('the images are missing: ... -- <images> --output RUN');
  if (!isResume && output === undefined) found.push('--output is missing after --: where shall the run go?');
  if (options['nproc'] !== undefined && options['nproc'] !== '1')
    found.push('--nproc starts processes itself, and here srun does: give --gpus, or --gpus 0 --tasks N');
  const flags = Object.fromEntries(SETTING_NAMES.map((name) => [name, options[name]]));
  try {
    readOverrides({ flags, problems: found });
    return { run: output ?? given ?? null, isResume, problems: [] };
  } catch (error) {
    return { run: null, isResume, problems: (error as Error).message.split('\n') };
  }
}

export async function run(invocation: Invocation): Promise<void> {
  const { args, options, io, problems } = invocation;
  const text = (name: string): string | null => (options[name] as string | undefined) ?? null;
  const list = (name: string, separator: string): string[] =>
    [(options[name] as string | string[] | undefined) ?? []]
      .flat()
      .flatMap((part) => part.split(separator).filter(Boolean));
  const training = readTraining(args);
  problems.push(...training.problems);
  const gpus = readNumber(invocation, 'gpus', { min: 0 });
  options['tasks'] ??= Math.max(1, gpus);
  const job = {
    train:
      training.isResume || args.some((word) => word.startsWith('--resume'))
        ? args
        : [...args, '--resume', 'auto'],
    run: training.run ?? '',
    command: [process.execPath, fileURLToPath(new URL('../../../bin/dino.js', import.meta.url))],
    folder: process.cwd(),
    name: text('name') ?? 'dino',
    nodes: readNumber(invocation, 'nodes', { min: 1 }),
    gpus,
    tasks: readNumber(invocation, 'tasks', { min: 1 }),
    cpus: readNumber(invocation, 'cpus', { min: 1 }),
    grace: readNumber(invocation, 'grace', { min: 1, max: 65535 }), // the largest that sbatch takes
    maxRestarts: readNumber(invocation, 'maxRestarts', { min: 0 }),
    time: text('time') ?? '',
    ...{ mem: text('mem'), partition: text('partition'), account: text('account'), qos: text('qos') },
    ...{ constraint: text('constraint'), comment: text('comment') },
    sbatch: list('sbatch', ','),
    setup: list('setup', '\n'),
  };
  check(invocation);
  const { submitSlurmJob } = await import('../../train/slurm.js');
  const script = path.resolve(text('script') ?? path.join(job.run, 'job.sh'));
  const done = submitSlurmJob(job, script, options['submit'] === false ? false : 'auto');
  io.result(
    done,
    done.job === null
      ? `written: ${done.script}\nsubmit it with: sbatch ${shellPath(done.script)}`
      : `submitted: job ${done.job}\nscript: ${done.script}\nlog: ${path.join(job.run, `slurm-${done.job}.out`)}`,
  );
}
