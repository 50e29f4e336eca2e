/**
 * The command line: `dino <command>`. Each command is a file of its own that is imported only when asked for, so that
 * `dino --help` answers at once; all that goes wrong comes up to the one catch below.
 *
 * Exit codes: 0 done, 1 failed, 2 bad usage or settings, 130 interrupted, 141 done but nobody read the result.
 */
import { Command } from 'commander';
import { ConfigError } from '../errors.js';
import { didYouMean } from '../plain/did-you-mean.js';
import { type CommandModule, Interrupted, Reported, runCommand } from './command.js';
import { exitCodeAfter, watchOutput } from './lost-output.js';
import { reportError } from './report-error.js';
import { packageVersion } from '../version.js';

interface Entry {
  summary: string;
  load: () => Promise<CommandModule>;
  /** Commands under this one, as in `dino eval knn`. */
  children?: Readonly<Record<string, Entry>>;
}

const commands: Readonly<Record<string, Entry>> = {
  train: { summary: 'train a model on a folder of images', load: () => import('./train.js') },
  eval: {
    summary: 'measure a model; dino eval --help lists how',
    load: () => import('./eval-knn.js'),
    children: {
      knn: {
        summary: 'k-nearest-neighbour classification with frozen features',
        load: () => import('./eval-knn.js'),
      },
      'attention-segmentation': {
        summary: 'how well attention cuts out objects: Jaccard similarity with masks',
        load: () => import('./eval-attention-segmentation.js'),
      },
      'video-segmentation': {
        summary: "carry a video's first mask through it (DAVIS), J and F",
        load: () => import('./eval-video-segmentation.js'),
      },
      linear: {
        summary: 'a linear classifier trained on frozen features',
        load: () => import('./eval-linear.js'),
      },
      'copy-detection': {
        summary: 'copies of images on Copydays',
        load: () => import('./eval-copy-detection.js'),
      },
      retrieval: {
        summary: 'image retrieval on Revisited Oxford and Paris',
        load: () => import('./eval-retrieval.js'),
      },
    },
  },
  studio: {
    summary: 'a page that shows runs live, and what models see',
    load: () => import('./studio.js'),
  },
  shard: { summary: 'pack images into tar shards, or index shards', load: () => import('./shard.js') },
  slurm: { summary: 'train as a job of a Slurm cluster', load: () => import('./slurm.js') },
  embed: { summary: 'write the features of images to a file', load: () => import('./embed.js') },
  index: {
    summary: 'make an index of images, to search and sort them',
    load: () => import('./index-images.js'),
  },
  search: { summary: 'find images like others, or like a part of one', load: () => import('./search.js') },
  duplicates: { summary: 'find near-duplicate images', load: () => import('./duplicates.js') },
  outliers: { summary: "find images that don't belong", load: () => import('./outliers.js') },
  cluster: { summary: 'sort images into kinds', load: () => import('./cluster.js') },
  select: { summary: 'choose the images worth labelling first', load: () => import('./select.js') },
  attention: { summary: 'draw what the model looks at', load: () => import('./attention.js') },
  video: { summary: 'draw what the model looks at over a video', load: () => import('./video.js') },
  export: { summary: 'write a model for other programs', load: () => import('./export.js') },
  hub: { summary: 'list the official models: numbers, links', load: () => import('./hub.js') },
  info: { summary: 'describe a model or a run', load: () => import('./info.js') },
  demo: {
    summary: 'a first training that needs no data of your own, with a report',
    load: () => import('./demo.js'),
  },
  doctor: { summary: 'check the set-up: libtorch, devices, speed', load: () => import('./doctor.js') },
};

/** Help text of a level of commands, without loading any of them. */
function overview(
  path: readonly string[],
  children: Readonly<Record<string, Entry>>,
  example: string,
): string {
  const program = new Command(['dino', ...path].join(' '))
    .usage('<command> [options]')
    .helpOption(false)
    .helpCommand(false);
  if (path.length === 0) {
    program.description(
      'Self-supervised training of vision transformers (DINO), and what to do with the result.\n' +
        'Every command has --help with an example, and --json for machine-readable output.',
    );
  }
  for (const [name, { summary }] of Object.entries(children)) program.command(name).description(summary);
  return `${program.helpInformation()}\nExample:\n  ${example}\n`;
}

async function dispatch(argv: readonly string[]): Promise<void> {
  let level: Readonly<Record<string, Entry>> = commands;
  const path: string[] = [];
  let rest = argv;
  for (;;) {
    const [word, ...after] = rest;
    const example =
      path.length === 0 ? 'dino train photos --output runs/first' : 'dino eval knn RUN --train a --val b';
    if (word === undefined || word === '--help' || word === '-h' || word === 'help') {
      const text = overview(path, level, example);
      if (word !== undefined) {
        process.stdout.write(text);
        return;
      }
      process.stderr.write(text);
      throw new ConfigError(`dino ${[...path, ''].join(' ')}needs a command`);
    }
    if (path.length === 0 && (word === '--version' || word === '-V')) {
      process.stdout.write(`${packageVersion}\n`);
      return;
    }
    const entry = Object.hasOwn(level, word) ? level[word] : undefined;
    if (entry === undefined) {
      const known = Object.keys(level);
      throw new ConfigError(
        `unknown command ${[...path, word].join(' ')}${didYouMean(word, known)}; commands: ${known.join(', ')}`,
      );
    }
    path.push(word);
    rest = after;
    if (entry.children) {
      level = entry.children;
      continue;
    }
    const module = await entry.load();
    await runCommand(module, ['dino', ...path].join(' '), entry.summary, rest);
    return;
  }
}

/** Runs one command line and returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  watchOutput();
  try {
    await dispatch(argv);
    return exitCodeAfter(0);
  } catch (error) {
    if (error instanceof Interrupted) return 130;
    if (error instanceof Reported) return error.exitCode;
    return reportError(error, argv.includes('--json'));
  }
}
