/** `dino attention`: maps of what the class token looks at; see src/explain/attention.ts. */
import type { Command } from 'commander';
import path from 'node:path';
import {
  addExamples,
  check,
  Interrupted,
  interruptSignal,
  type Invocation,
  readNumber,
  setAliases,
} from '../command.js';
import {
  addImageSizeOption,
  addModelOptions,
  evalAliases,
  loadForEvaluation,
  readImageSize,
} from '../eval/options.js';

export function define(command: Command): void {
  command
    .argument('<weights>', 'run folder, checkpoint folder, .safetensors or .pth file')
    .argument('<image...>', 'image files')
    .option('-o, --output <folder>', 'where the pictures go; several images get a folder each')
    .option(
      '--threshold <share>',
      'also draw masks of the patches that hold this share of the attention, as 0.6',
    );
  command.option(
    '--pca',
    "also draw the patches' first three principal components; images share the colours",
  );
  addImageSizeOption(command);
  addModelOptions(command);
  setAliases(command, evalAliases);
  addExamples(
    command,
    'dino attention runs/first photos/cat.jpg --output maps --threshold 0.6',
    'dino attention runs/first photos/*.jpg --output maps --pca',
  );
}

/** A folder for each image, named after it; two of the same name are numbered. */
function foldersOf(images: readonly string[], output: string): string[] {
  if (images.length === 1) return [output];
  const used = new Set<string>();
  return images.map((image) => {
    const stem = path.basename(image, path.extname(image));
    let name = stem;
    for (let n = 2; used.has(name); n++) name = `${stem}-${n}`;
    used.add(name);
    return path.join(output, name);
  });
}

export async function run(invocation: Invocation): Promise<void> {
  const { args, options, io, problems } = invocation;
  const images = args.slice(1);
  const output = options['output'] as string | undefined;
  const threshold =
    options['threshold'] === undefined
      ? undefined
      : readNumber(invocation, 'threshold', { min: Number.MIN_VALUE, max: 1, whole: false });
  const imageSize = readImageSize(invocation);
  if (output === undefined) problems.push('--output is missing: a folder for the pictures');
  check(invocation);
  const interrupt = interruptSignal(() => io.note('interrupted'));
  try {
    const { writeAttention } = await import('../../explain/attention.js');
    const model = await loadForEvaluation(invocation);
    const folders = foldersOf(images, output!);
    const results: {
      image: string;
      folder: string;
      files: string[];
      heads: number;
      patches: [number, number];
    }[] = [];
    const given = threshold === undefined ? {} : { threshold };
    for (const [i, image] of images.entries()) {
      if (interrupt.signal.aborted) throw new Interrupted('interrupted');
      const result = await model.attention(image, { ...imageSize, ...given });
      const folder = folders[i]!;
      const files = await writeAttention(result, folder, given);
      const { heads, rows, columns } = result;
      results.push({ image, folder, files, heads, patches: [rows, columns] });
      io.note(`${image}: ${heads} heads of ${rows} x ${columns} patches`);
    }
    if (options['pca'] === true) {
      const { patchPca, writePatchPca } = await import('../../explain/patch-pca.js');
      const { images: painted, explained } = await patchPca(model, images, {
        ...imageSize,
        signal: interrupt.signal,
      });
      for (const [i, image] of painted.entries()) {
        results[i]!.files.push(await writePatchPca(image, folders[i]!));
      }
      const shares = explained.map((share) => `${(100 * share).toFixed(0)}%`).join(', ');
      io.note(`principal components: ${shares} of the variance`);
    }
    io.result({ images: results }, results.map(({ image, folder }) => `${image}: ${folder}`).join('\n'));
  } finally {
    interrupt.release();
  }
}
