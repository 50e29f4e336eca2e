/** `dino shard`: images into tar shards, or the index of shards; see src/data/write and src/data/list/shards. */
import type { Command } from 'commander';
import { parseBytes } from '../plain/units.js';
import { addExamples, check, interruptSignal, type Invocation, readNumber } from './command.js';
import { counter } from './eval-options.js';

export function define(command: Command): void {
  command
    .argument('<images>', 'folder of images, text file of paths, or shards')
    .option('-o, --output <folder>', 'where the shards go')
    .option('--shard-size <bytes>', 'at most this: 500MB, 1GB, 2GiB', '1GB')
    .option('--shuffle <seed>', 'a random order, for readers that go through shards from start to end')
    .option('--index', 'make no shards: make or check the index of those that are given');
  addExamples(
    command,
    'dino shard imagenet/train --output shards/train --shard-size 1GB',
    "dino shard 'shards/train/shard-{000000..000146}.tar' --index",
  );
}

const MEBIBYTE = 2 ** 20;

export async function run(invocation: Invocation): Promise<void> {
  const { args, options, io, problems } = invocation;
  const output = options['output'] as string | undefined;
  const sizeText = options['shardSize'] as string;
  const shardSize = parseBytes(sizeText);
  const isIndex = options['index'] === true;
  const shuffle =
    options['shuffle'] === undefined ? undefined : readNumber(invocation, 'shuffle', { min: 0 });
  if (shardSize === null || shardSize < 10_000)
    problems.push(`--shard-size is ${sizeText}; expected at least 10000 bytes, as 1GB`);
  if (isIndex && output !== undefined) problems.push('--index makes no shards: leave out --output');
  if (!isIndex && output === undefined) problems.push('--output is missing: a folder for the shards');
  check(invocation);
  const interrupt = interruptSignal(() => io.note('interrupted: the same command goes on'));
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  try {
    const { listShardSource, writeShards } = await import('../data/index.js');
    const count = counter(io);
    const onProgress = (done: number, total: number) => count('shards indexed', done, total);
    if (isIndex) {
      const list = await listShardSource(args[0]!, { onProgress });
      for (const { path, offset, reason } of list.unreadable)
        io.warn(`${path}${offset === undefined ? '' : ` at byte ${offset}`}: ${reason}`);
      io.warnOfLists(list);
      const { items, classes, fingerprint, index, unreadable, leftOut } = list;
      io.result(
        {
          images: items.length,
          classes: classes?.length ?? null,
          fingerprint,
          ...index,
          unreadable,
          leftOut,
          seconds: seconds(),
        },
        `${items.length} images in ${index.shards} shards, ${classes === null ? 'no labels' : `${classes.length} classes`}\n` +
          `index: ${index.file ?? 'could be written nowhere'} (${index.scanned} shards looked through, ${seconds().toFixed(1)} s)`,
      );
      return;
    }
    const result = await writeShards(args[0]!, {
      ...{ output: output!, shardSize: shardSize!, signal: interrupt.signal, onProgress },
      ...(shuffle === undefined ? {} : { shuffle }),
      onImage: ({ done, total }) => count('images', done, total),
    });
    for (const { path, reason } of result.skipped) io.warn(`skipped ${path}: ${reason}`);
    io.warnOfLists(result);
    const { images, shards, bytes, classes, skipped, resumed } = result;
    io.result(
      { ...result, seconds: seconds() },
      `${output}: ${images} images in ${shards.length} shards, ${(bytes / MEBIBYTE).toFixed(1)} MiB, ` +
        `${classes === null ? 'no labels' : `${classes} classes`}, ${skipped.length} skipped, ${result.leftOut.count} left out, ${seconds().toFixed(1)} s` +
        (resumed > 0 ? `; ${resumed} shards were there from before` : ''),
    );
  } finally {
    interrupt.release();
  }
}
