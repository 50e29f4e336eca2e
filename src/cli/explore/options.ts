/** What the commands on an index share: where results go, how they are searched, and how the work is framed. */
import path from 'node:path';
import { z } from 'zod';
import type { ImageIndex } from '../../explore/image-index.js';
import type { ImageGroups } from '../../explore/put-images.js';
import { type Counter, counter } from '../counter.js';
import type { Parsed } from '../flags.js';
import { interruptible } from '../interrupt.js';
import type { Output } from '../output.js';

export const indexArgument = z.string().describe('folder that dino index made');

const folder = (description: string) => z.string().optional().meta({ description, placeholder: '<folder>' });

/** Where the images that a command finds go. */
export const resultOptions = {
  output: z.string().optional().meta({
    description: 'also write the paths to a new text file, which other commands take in place of a folder',
    placeholder: '<file>',
    short: '-o',
  }),
  copyTo: folder('also copy the images to a new folder'),
  linkTo: folder('also make a new folder of symbolic links to them'),
};
export type ResultOptions = Parsed<typeof resultOptions>;

export const exactOption = {
  exact: z
    .boolean()
    .default(false)
    .describe('compare with every image (default for up to 10,000 images; above, the search is approximate)'),
};

/** --exact as the functions take it: not given, they choose. */
export const exactly = ({ exact }: { exact: boolean }): { exact?: true } => (exact ? { exact } : {});

/** The rule for resultOptions: nothing is replaced, which is checked before the work begins. */
export async function resultProblems(options: ResultOptions): Promise<string[]> {
  const problems: string[] = [];
  if (options.copyTo !== undefined && options.linkTo !== undefined)
    problems.push('--copy-to and --link-to: give one of the two');
  const { checkNewFile, checkPutFolder } = await import('../../files/new-places.js');
  for (const name of ['output', 'copyTo', 'linkTo'] as const) {
    const place = options[name];
    try {
      if (place !== undefined) (name === 'output' ? checkNewFile : checkPutFolder)(place);
    } catch (error) {
      problems.push((error as Error).message);
    }
  }
  return problems;
}

/** What a command has to work with. */
export interface IndexWork {
  index: ImageIndex;
  signal: AbortSignal;
  count: Counter;
}

/**
 * Opens an index, works on it until that is done or Ctrl-C interrupts it, and closes it.
 * @throws DataError for an index that can't be used.
 */
export async function onIndex(
  { args, io }: { args: { index: string }; io: Output },
  work: (work: IndexWork) => Promise<void>,
): Promise<void> {
  await interruptible(
    () => io.note('interrupted'),
    async (signal) => {
      const { ImageIndex } = await import('../../explore/image-index.js');
      using index = ImageIndex.open(args.index);
      await work({ index, signal, count: counter(io) });
    },
  );
}

/** Writes the list and fills the folder that resultOptions ask for, with images that the index names. */
export async function putResults(
  { options, io }: { options: ResultOptions; io: Output },
  index: ImageIndex,
  groups: ImageGroups,
): Promise<void> {
  const { imagesOf, putImages, writeList } = await import('../../explore/put-images.js');
  const within = index.manifest.images.root;
  if (options.output !== undefined) {
    const images = imagesOf(groups);
    writeList(options.output, images);
    io.note(`${images.length} paths in ${options.output}`);
  }
  for (const [name, how] of [
    ['copyTo', 'copy'],
    ['linkTo', 'link'],
  ] as const) {
    const folder = options[name];
    if (folder === undefined) continue;
    warnOfRoot(io, index);
    const count = putImages(groups, { folder, how, within });
    io.note(`${count} ${how === 'copy' ? 'copies' : 'links'} in ${folder}`);
  }
}

/** Warns when the images of an index are neither in its folder's parent nor where the command runs. */
export function warnOfRoot(io: Output, { folder, manifest }: ImageIndex): void {
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
