/**
 * The command line: `dino <command>`. Each command is a file of its own that is imported only when it is run, so that
 * `dino --help` answers at once. All errors end in the one catch below.
 *
 * Exit codes: 0 done, 1 failed, 2 bad usage or settings, 130 interrupted, 141 done, but nobody read the result.
 */
import { Command } from 'commander';
import { ConfigError } from '../errors.js';
import { didYouMean, nearestName } from '../plain/did-you-mean.js';
import { packageVersion } from '../version.js';
import type { AnyCommand } from './command.js';
import { exitCodeAfter, watchOutput } from './lost-output.js';
import { Interrupted, Reported } from './outcome.js';
import { reportError } from './report-error.js';

/** Several commands under one name, as in `dino eval knn`. */
interface Level {
  commands: Readonly<Record<string, Entry>>;
  example: string;
}
/** A command, which is loaded when it is asked for, or a level of them. */
type Entry = { summary: string } & (Level | { load: () => Promise<{ command: AnyCommand }> });

const dino: Level = {
  example: 'dino train photos --output runs/first',
  commands: {
    train: { summary: 'train a model on a folder of images', load: () => import('./train/train.js') },
    adapt: {
      summary: 'go on from trained weights on images of your own, and keep whichever is better',
      load: () => import('./train/adapt.js'),
    },
    eval: {
      summary: 'measure a model; dino eval --help lists the ways',
      example: 'dino eval knn RUN --train a --val b',
      commands: {
        knn: {
          summary: 'k-nearest-neighbour classification with frozen features',
          load: () => import('./eval/knn.js'),
        },
        quality: {
          summary: 'how good features are, without labels',
          load: () => import('./eval/quality.js'),
        },
        'attention-segmentation': {
          summary: 'how well attention segments objects: Jaccard similarity with masks',
          load: () => import('./eval/attention-segmentation.js'),
        },
        'video-segmentation': {
          summary: "propagate a video's first mask through it (DAVIS): J and F",
          load: () => import('./eval/video-segmentation.js'),
        },
        linear: {
          summary: 'a linear classifier trained on frozen features',
          load: () => import('./eval/linear.js'),
        },
        'copy-detection': {
          summary: 'finding copies of images (Copydays)',
          load: () => import('./eval/copy-detection.js'),
        },
        retrieval: {
          summary: 'image retrieval (Revisited Oxford and Paris)',
          load: () => import('./eval/retrieval.js'),
        },
      },
    },
    studio: {
      summary: 'open a page that shows runs live, and what models see',
      load: () => import('./studio/studio.js'),
    },
    shard: { summary: 'pack images into tar shards, or index shards', load: () => import('./shard.js') },
    slurm: { summary: 'train in a job on a Slurm cluster', load: () => import('./train/slurm.js') },
    classify: {
      summary: 'fit a classifier to labelled images, and classify others with it',
      example: 'dino classify fit RUN pets --output pets.safetensors',
      commands: {
        fit: {
          summary: 'fit a classifier to folders of images, one per class, and measure it',
          load: () => import('./classify/fit.js'),
        },
        predict: { summary: 'classify images', load: () => import('./classify/predict.js') },
        export: {
          summary: 'write a classifier with its model as one ONNX file',
          load: () => import('./classify/export.js'),
        },
      },
    },
    segment: {
      summary: 'fit a segmenter to images with masks, and segment others with it',
      example: 'dino segment fit RUN images masks --output roads.safetensors',
      commands: {
        fit: {
          summary: 'fit a segmenter to images with masks, and measure it',
          load: () => import('./segment/fit.js'),
        },
        predict: { summary: 'segment images', load: () => import('./segment/predict.js') },
      },
    },
    embed: { summary: 'write the features of images to a file', load: () => import('./eval/embed.js') },
    index: {
      summary: 'make an index of images, for the five commands below',
      load: () => import('./explore/index-images.js'),
    },
    search: {
      summary: 'find images similar to others, or to a part of one',
      load: () => import('./explore/search.js'),
    },
    duplicates: { summary: 'find near-duplicate images', load: () => import('./explore/duplicates.js') },
    outliers: { summary: "find images that don't belong", load: () => import('./explore/outliers.js') },
    cluster: { summary: 'group similar images', load: () => import('./explore/cluster.js') },
    select: { summary: 'choose the images worth labelling first', load: () => import('./explore/select.js') },
    attention: { summary: 'draw what a model attends to', load: () => import('./explain/attention.js') },
    video: { summary: 'draw what a model attends to in a video', load: () => import('./explain/video.js') },
    export: { summary: 'write a model for other programs', load: () => import('./export/export.js') },
    hub: {
      summary: 'list the official models with their scores and links',
      load: () => import('./weights/hub.js'),
    },
    info: { summary: 'describe a model or a run', load: () => import('./weights/info.js') },
    demo: {
      summary: 'run a first training, which needs no data of your own, with a report',
      load: () => import('./train/demo.js'),
    },
    setup: {
      summary: 'get what is missing: libtorch, and addons where none came prebuilt',
      load: () => import('./setup.js'),
    },
    doctor: { summary: 'check the setup: libtorch, devices, speed', load: () => import('./doctor.js') },
  },
};

/** Help text of a level of commands, without loading any of them. */
function overview(path: readonly string[], { commands, example }: Level): string {
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
  for (const [name, { summary }] of Object.entries(commands)) program.command(name).description(summary);
  return `${program.helpInformation()}\nExample:\n  ${example}\n`;
}

/** ` (did you mean eval knn?)`: a command of this level or of one below, since the word before it is easily forgotten. */
function meant(word: string, { commands }: Level): string {
  const below = Object.entries(commands).flatMap(([group, entry]) =>
    'commands' in entry ? Object.keys(entry.commands).map((name) => ({ group, name })) : [],
  );
  const here = didYouMean(word, Object.keys(commands));
  if (here !== '') return here;
  const near = nearestName(
    word,
    below.map(({ name }) => name),
  );
  const found = below.filter(({ name }) => name === near).map(({ group, name }) => `${group} ${name}`);
  return found.length === 0 ? '' : ` (did you mean ${found.join(' or ')}?)`;
}

/** Runs what the words after `path` ask for. */
async function dispatch(level: Level, path: readonly string[], argv: readonly string[]): Promise<void> {
  const [word, ...rest] = argv;
  if (word === undefined) {
    process.stderr.write(overview(path, level));
    throw new ConfigError(`${['dino', ...path].join(' ')} needs a command`);
  }
  if (word === '--help' || word === '-h' || word === 'help') {
    process.stdout.write(overview(path, level));
    return;
  }
  if (path.length === 0 && (word === '--version' || word === '-V')) {
    process.stdout.write(`${packageVersion}\n`);
    return;
  }
  const entry = Object.hasOwn(level.commands, word) ? level.commands[word] : undefined;
  if (entry === undefined) {
    const known = Object.keys(level.commands).join(', ');
    throw new ConfigError(
      `unknown command ${[...path, word].join(' ')}${meant(word, level)}; commands: ${known}`,
    );
  }
  if ('commands' in entry) return dispatch(entry, [...path, word], rest);
  const [{ command }, { runCommand }] = await Promise.all([entry.load(), import('./command.js')]);
  await runCommand(command, ['dino', ...path, word].join(' '), entry.summary, rest);
}

/** Runs one command line and returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  watchOutput();
  try {
    await dispatch(dino, [], argv);
    return exitCodeAfter(0);
  } catch (error) {
    if (error instanceof Interrupted) return 130;
    if (error instanceof Reported) return error.exitCode;
    return reportError(error, argv.includes('--json'));
  }
}
