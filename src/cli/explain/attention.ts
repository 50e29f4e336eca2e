/** `dino attention`: pictures of what the class token attends to; see src/explain/attention.ts. */
import path from 'node:path';
import { z } from 'zod';
import { defineCommand } from '../command.js';
import { imageSize, maxPatches, pick, share } from '../flags.js';
import { DataError } from '../../errors.js';
import { interruptible } from '../interrupt.js';
import { Interrupted } from '../outcome.js';
import type { AttentionResult } from '../../explain/attention.js';
import { modelOptions, openModel, weightsArgument } from '../weights/options.js';

/** A folder for each image, named after it; two of the same name are numbered. */
function foldersOf(images: readonly string[], output: string): string[] {
  if (images.length === 1) return [output];
  const used = new Set<string>();
  return images.map((image) => {
    const short = path.basename(image, path.extname(image));
    const stem = /^\.{0,2}$/.test(short) ? 'image' : short; // `...jpg` would be drawn in the folder above
    let name = stem;
    for (let n = 2; used.has(name); n++) name = `${stem}-${n}`;
    used.add(name);
    return path.join(output, name);
  });
}

export const command = defineCommand({
  args: { weights: weightsArgument, image: z.array(z.string()).min(1).describe('image files') },
  options: {
    output: z.string().meta({
      description: 'where the pictures go; several images get a folder each',
      placeholder: '<folder>',
      short: '-o',
      aliases: ['--output-dir'],
      missing: 'a folder for the pictures',
    }),
    threshold: share().optional().meta({
      description: 'also draw masks of the patches that hold this share of the attention, as 0.6',
      placeholder: '<share>',
    }),
    pca: z
      .boolean()
      .default(false)
      .describe("also draw the patches' first three principal components; images share the colours"),
    imageSize: imageSize().optional().meta({
      description: "shorter side, or height,width, pixels (default: about twice the model's own size)",
    }),
    maxPatches: maxPatches(),
    ...modelOptions,
  },
  examples: [
    'dino attention runs/first photos/cat.jpg --output maps --threshold 0.6',
    'dino attention runs/first photos/*.jpg --output maps --pca',
  ],

  async run({ args: { weights, image: images }, options, io }) {
    const sized = pick(options, 'imageSize', 'maxPatches');
    const masked = pick(options, 'threshold');
    await interruptible(
      () => io.note('interrupted'),
      async (signal) => {
        const [
          { squeezedNote, writeAttention },
          { checkNotInput },
          { assertWritableFolder },
          { isAttentive },
          pictures,
        ] = await Promise.all([
          import('../../explain/attention.js'),
          import('../../files/new-places.js'),
          import('../../files/output.js'),
          import('../../models/index.js'),
          import('../../explain/own-pictures.js'),
        ]);
        const folders = foldersOf(images, options.output);
        for (const image of images.filter((one) => pictures.DRAWN.test(path.basename(one))))
          for (const folder of folders) checkNotInput(path.join(folder, path.basename(image)), [image]);
        for (const folder of folders) assertWritableFolder(folder);
        const model = await openModel(weights, options, io);
        if (isAttentive(model.backbone)) {
          const names = pictures.attentionNames(model.backbone.numHeads, options.threshold ?? null);
          pictures.checkPictures(folders, options.pca ? [...names, 'pca.png'] : names, options.output);
        }
        const results: {
          image: string;
          folder: string;
          files: string[];
          heads: number;
          patches: [number, number];
        }[] = [];
        const skipped: { path: string; reason: string }[] = [];
        for (const [i, image] of images.entries()) {
          if (signal.aborted) throw new Interrupted('interrupted');
          let result: AttentionResult;
          try {
            result = await model.attention(image, { ...sized, ...masked });
          } catch (error) {
            // an image that can't be drawn is no reason to draw none of the others
            if (!(error instanceof DataError) || images.length === 1) throw error;
            skipped.push({ path: image, reason: error.message });
            io.warn(`skipped ${image}: ${error.message}`);
            continue;
          }
          const folder = folders[i]!;
          const files = await writeAttention(result, folder, masked);
          const { heads, rows, columns } = result;
          results.push({ image, folder, files, heads, patches: [rows, columns] });
          const { registers, registerShare } = result;
          const without =
            registers === 0
              ? ''
              : `; ${registers} register tokens, which take ${(100 * registerShare).toFixed(0)}%, are left out`;
          io.note(`${image}: ${heads} heads of ${rows} x ${columns} patches${without}`);
          if (result.isSqueezed) io.warn(squeezedNote(image, result));
        }
        if (results.length === 0)
          throw new DataError(`none of the ${images.length} images could be drawn; each is named above`);
        if (options.pca) {
          const { patchPca, writePatchPca } = await import('../../explain/patch-pca.js');
          const { images: painted, explained } = await patchPca(
            model,
            results.map(({ image }) => image),
            { ...sized, signal },
          );
          for (const [i, image] of painted.entries()) {
            results[i]!.files.push(await writePatchPca(image, results[i]!.folder));
          }
          const shares = explained.map((part) => `${(100 * part).toFixed(0)}%`).join(', ');
          io.note(`principal components: ${shares} of the variance`);
        }
        const lines = results.map(({ image, folder }) => `${image}: ${folder}`);
        if (skipped.length > 0) lines.push(`${skipped.length} skipped`);
        const drawn = results.flatMap(({ files }) => files);
        const earlier = pictures.earlierPictures(folders, drawn);
        if (earlier.length > 0) io.note(pictures.earlierNote(earlier));
        io.result({ images: results, skipped, earlier }, lines.join('\n'));
      },
    );
  },
});
