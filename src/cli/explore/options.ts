/** What the commands on an index share: where results go, how they are searched, and how the work is framed. */
import type { Command } from 'commander';
import path from 'node:path';
import type { ImageIndex } from '../../explore/image-index.js';
import type { ImageGroups } from '../../explore/put-images.js';
import { check, interruptSignal, type Invocation } from '../command.js';
import { counter } from '../eval/options.js';

/** --output, --copy-to and --link-to. */
export function addResultOptions(command: Command): void {
  command
    .option(
      '-o, --output <file>',
      'also write the paths to a new text file, which the other commands take for a folder',
    )
    .option('--copy-to <folder>', 'also copy the images to a new folder')
    .option('--link-to <folder>', 'also make a new folder of symbolic links to them');
}

export function addExactOption(command: Command): void {
  command.option(
    '--exact',
    'compare with every image; default for up to 10,000 images, approximate search above',
  );
}

/** Checks the options of addResultOptions before the work begins. */
async function checkResultOptions({ options, problems }: Invocation): Promise<void> {
  if (options['copyTo'] !== undefined && options['linkTo'] !== undefined)
    problems.push('--copy-to and --link-to: give one of the two');
  const { checkNewFile, checkPutFolder } = await import('../../explore/put-images.js');
  for (const name of ['output', 'copyTo', 'linkTo']) {
    const place = options[name] as string | undefined;
    try {
      if (place !== undefined) (name === 'output' ? checkNewFile : checkPutFolder)(place);
    } catch (error) {
      problems.push((error as Error).message);
    }
  }
}

export const exactOf = ({ options }: Invocation): { exact?: boolean } =>
  options['exact'] === true ? { exact: true } : {};

/**
 * Opens the index that the first argument names, works on it, and closes it. Call it when everything on the command line
 * has been read.
 *
 * @throws ConfigError with the invocation's problems, DataError for an index that can't be used.
 */
export async function onIndex(
  invocation: Invocation,
  work: (index: ImageIndex, signal: AbortSignal, count: ReturnType<typeof counter>) => Promise<void>,
): Promise<void> {
  const { args, io } = invocation;
  await checkResultOptions(invocation);
  check(invocation);
  const interrupt = interruptSignal(() => io.note('interrupted'));
  try {
    const { ImageIndex } = await import('../../explore/image-index.js');
    using index = ImageIndex.open(args[0]!);
    await work(index, interrupt.signal, counter(io));
  } finally {
    interrupt.release();
  }
}

/** Writes the list and fills the folder that were asked for, of images that the index names. */
export async function putResults(
  { options, io }: Invocation,
  index: ImageIndex,
  groups: ImageGroups,
): Promise<void> {
  const { imagesOf, putImages, writeList } = await import('../../explore/put-images.js');
  const output = options['output'] as string | undefined;
  const within = index.manifest.images.root;
  if (output !== undefined) {
    const images = imagesOf(groups);
    writeList(output, images);
    io.note(`${images.length} paths in ${output}`);
  }
  for (const [name, how] of [
    ['copyTo', 'copy'],
    ['linkTo', 'link'],
  ] as const) {
    const folder = options[name] as string | undefined;
    if (folder === undefined) continue;
    tellRoot(io, index);
    const count = putImages(groups, { folder, how, within });
    io.note(`${count} ${how === 'copy' ? 'copies' : 'links'} in ${folder}`);
  }
}

/** Says which folder's images an index names, when that is neither beside it nor where the command runs. */
export function tellRoot(io: Invocation['io'], { folder, manifest }: ImageIndex): void {
  const { root } = manifest.images;
  const isNear = [path.dirname(path.resolve(folder)), process.cwd()].some((near) => {
    const relative = path.relative(near, root);
    return relative.split(path.sep)[0] !== '..' && !path.isAbsolute(relative);
  });
  if (!isNear) io.warn(`the images are read from ${root}, as ${folder} says`);
}

/** A path as it is shown: relative to where the command runs, when that is shorter. */
export function shown(file: string): string {
  const relative = path.relative(process.cwd(), file);
  return relative.length < file.length ? relative : file;
}
