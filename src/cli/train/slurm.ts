/** `dino slurm`: a job script for `dino train`, submitted where there is an sbatch. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { shellPath } from '../../plain/shell.js';
import { defineCommand, readLine } from '../command.js';
import { pick, whole } from '../flags.js';
import { command as trainCommand } from './train.js';

/** An option that sbatch has under the same name. */
const ofSbatch = (placeholder: string, description: string) =>
  z.string().optional().meta({ description, placeholder });

/** The job's `dino train`, read now rather than when its turn comes. */
async function readTraining(words: readonly string[]) {
  const { options, problems } = await readLine(trainCommand, 'dino train', words);
  const { resume, output, nproc } = options;
  if (output === undefined && resume === undefined)
    problems.push('--output is missing: a job that is queued again continues the run in it');
  if (nproc !== undefined && nproc !== 1)
    problems.push('--nproc starts processes itself, and here srun does: give --gpus, or --gpus 0 --tasks N');
  return {
    run: output ?? resume ?? '',
    resumes: resume !== undefined,
    problems: problems.map((problem) => `after --: ${problem}`),
  };
}

export const command = defineCommand({
  args: { train: z.array(z.string()).min(1).describe('what `dino train` gets, after --') },
  usage: '[options] -- <images> --output RUN [options of dino train]',
  options: {
    nodes: whole(1).default(1).describe('machines'),
    gpus: whole(0).default(8).describe('GPUs on each machine, with one process each; 0 for none'),
    tasks: whole(1).optional().describe('processes on each machine (with --gpus 0)'),
    cpus: whole(1).default(10).describe('cores for each process'),
    mem: ofSbatch('<size>', 'memory of each machine, as 320G'),
    time: z.string().default('1-00:00:00').meta({
      description: 'time limit of one job; when it is over, the job is queued again',
      placeholder: '<limit>',
    }),
    partition: ofSbatch('<name>', "sbatch's --partition"),
    account: ofSbatch('<name>', "sbatch's --account"),
    qos: ofSbatch('<name>', "sbatch's --qos"),
    constraint: ofSbatch('<list>', "sbatch's --constraint, as volta32gb"),
    comment: ofSbatch('<text>', "sbatch's --comment"),
    name: z.string().default('dino').meta({ description: 'name of the job', placeholder: '<name>' }),
    // the largest that sbatch takes
    grace: whole(1, 65535).default(120).meta({
      description: 'how long before the time limit to write a checkpoint',
      placeholder: '<seconds>',
    }),
    maxRestarts: whole(0)
      .default(3)
      .describe('how often to start again after a process has failed or was lost'),
    setup: z.array(z.string()).default([]).meta({
      description: 'lines of bash to run first, each in quotes',
      placeholder: '<line...>',
    }),
    sbatch: z
      .string()
      // a value may have commas of its own: --exclude=n1,n2
      .transform((options) => options.split(/,+(?=-)|,+$/).filter(Boolean))
      .optional()
      .meta({
        description: 'more options of sbatch, separated by commas: --sbatch=--exclude=n7,n8,--exclusive',
        placeholder: '<options>',
      }),
    script: z
      .string()
      .optional()
      .meta({ description: 'the script to write (default: RUN/job.sh)', placeholder: '<file>' }),
    submit: z.boolean().default(true).describe('only write the script'),
  },
  examples: [
    'dino slurm --nodes 2 --gpus 8 --partition gpu --time 2-00:00:00 -- imagenet/train --output runs/vits16 --preset paper',
  ],
  rules: async ({ args }) => (await readTraining(args.train ?? [])).problems,

  async run({ args: { train }, options, io }) {
    const { run, resumes } = await readTraining(train);
    const { mem = null, partition = null, account = null, qos = null } = options;
    const { constraint = null, comment = null, sbatch = [] } = options;
    const job = {
      train: resumes ? train : [...train, '--resume', 'auto'],
      run,
      command: [process.execPath, fileURLToPath(new URL('../../../bin/dino.js', import.meta.url))],
      folder: process.cwd(),
      ...pick(options, 'name', 'nodes', 'gpus', 'cpus', 'grace', 'maxRestarts', 'time', 'setup'),
      tasks: options.tasks ?? Math.max(1, options.gpus),
      ...{ mem, partition, account, qos, constraint, comment, sbatch },
    };
    const { submitSlurmJob } = await import('../../train/slurm.js');
    const script = path.resolve(options.script ?? path.join(job.run, 'job.sh'));
    const done = submitSlurmJob(job, script, options.submit ? 'auto' : false);
    io.result(
      done,
      done.job === null
        ? `written: ${done.script}\nsubmit it with: sbatch ${shellPath(done.script)}`
        : `submitted: job ${done.job}\nscript: ${done.script}\nlog: ${path.join(job.run, `slurm-${done.job}.out`)}`,
    );
  },
});
