/** `dino shard`: images into tar shards, or the index of shards; see src/data/write and src/data/list/shards. */
import { z } from 'zod';
import { parseBytes } from '../plain/units.js';
import { defineCommand } from './command.js';
import { counter } from './counter.js';
import { pick, whole } from './flags.js';
import { interruptible } from './interrupt.js';

const MEBIBYTE = 2 ** 20;
const LEAST_BYTES = 10_000;

const some = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`;

const labels = (classes: number | null): string =>
  classes === null ? 'no labels' : some(classes, 'class', 'classes');

export const command = defineCommand({
  args: { images: z.string().describe('folder of images, text file of paths, or shards') },
  options: {
    output: z
      .string()
      .optional()
      .meta({ description: 'where the shards go', placeholder: '<folder>', short: '-o' }),
    shardSize: z
      .string()
      .refine((text) => (parseBytes(text) ?? 0) >= LEAST_BYTES, 'expected at least 10000 bytes, as 1GB')
      .default('1GB')
      .transform((text) => parseBytes(text) ?? 0)
      .meta({ description: 'largest size of a shard: 500MB, 1GB, 2GiB', placeholder: '<bytes>' }),
    shuffle: whole(0).optional().meta({
      description: 'a random order, for readers that go through shards from start to end',
      placeholder: '<seed>',
    }),
    index: z
      .boolean()
      .default(false)
      .describe('write no shards: make or check the index of those that are given'),
  },
  examples: [
    'dino shard imagenet/train --output shards/train --shard-size 1GB',
    "dino shard 'shards/train/shard-{000000..000146}.tar' --index",
  ],
  rules({ options: { index, output } }) {
    if (index === true) return output === undefined ? [] : ['--index writes no shards: leave out --output'];
    return output === undefined ? ['--output is missing: a folder for the shards'] : [];
  },

  async run({ args, options, io }) {
    const start = performance.now();
    const seconds = () => (performance.now() - start) / 1000;
    const { output = '' } = options;
    await interruptible(
      // an index is written when all shards are read
      () => io.note(`interrupted: the same command ${options.index ? 'begins again' : 'continues'}`),
      async (signal) => {
        const { listShardSource, writeShards } = await import('../data/index.js');
        const count = counter(io);
        const onProgress = (done: number, total: number) => count('shards indexed', done, total);
        if (options.index) {
          const list = await listShardSource(args.images, { onProgress, signal });
          for (const { path, offset, reason } of list.unreadable)
            io.warn(`${path}${offset === undefined ? '' : ` at byte ${offset}`}: ${reason}`);
          io.warnOfLists(list);
          const { items, fingerprint, index, unreadable, leftOut } = list;
          const classes = list.classes?.length ?? null;
          io.result(
            { images: items.length, classes, fingerprint, ...index, unreadable, leftOut, seconds: seconds() },
            `${some(items.length, 'image')} in ${some(index.shards, 'shard')}, ${labels(classes)}\n` +
              `index: ${index.file ?? 'no folder to write it to'} (${some(index.scanned, 'shard')} read, ${seconds().toFixed(1)} s)`,
          );
          return;
        }
        const result = await writeShards(args.images, {
          ...{ output, signal, onProgress },
          ...pick(options, 'shardSize', 'shuffle'),
          onWait: (message) => io.note(message),
          onImage: ({ done, total }) => count('images', done, total),
        });
        for (const { path, reason } of result.skipped) io.warn(`skipped ${path}: ${reason}`);
        io.warnOfLists(result);
        const { images, shards, bytes, classes, skipped, leftOut, resumed } = result;
        io.result(
          { ...result, seconds: seconds() },
          `${output}: ${some(images, 'image')} in ${some(shards.length, 'shard')}, ${(bytes / MEBIBYTE).toFixed(1)} MiB, ` +
            `${labels(classes)}, ${skipped.length} skipped, ${leftOut.count} left out, ${seconds().toFixed(1)} s` +
            (resumed > 0 ? `; ${some(resumed, 'shard was', 'shards were')} there from before` : ''),
        );
      },
    );
  },
});
