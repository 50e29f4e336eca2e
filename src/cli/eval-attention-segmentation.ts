/** `dino eval attention-segmentation`: see src/eval/attention-segmentation.ts. */
import type { Command } from 'commander';
import { addExamples, check, interruptSignal, type Invocation, readNumber, setAliases } from './command.js';
import {
  addImageSizeOption,
  addModelOptions,
  counter,
  evalAliases,
  keepResult,
  loadForEvaluation,
  readImageSize,
} from './eval-options.js';

export function define(command: Command): void {
  command
    .argument('<weights>', 'run folder, checkpoint folder or weights file')
    .option('--images <folder>', 'images, at any depth')
    .option('--masks <folder>', 'PNGs of the same names: labels of objects, 0 background, 255 void')
    .option('--threshold <share>', "share of a head's attention that its mask keeps", '0.6')
    .option('--foreground', 'all labels of a mask together are one object');
  addImageSizeOption(command);
  addModelOptions(command);
  setAliases(command, { ...evalAliases, '--resize': '--image-size' });
  addExamples(
    command,
    'dino eval attention-segmentation runs/first --images JPEGImages --masks SegmentationClass',
  );
}

export async function run(invocation: Invocation): Promise<void> {
  const { options, io } = invocation;
  const images = options['images'] as string | undefined;
  const masks = options['masks'] as string | undefined;
  const threshold = readNumber(invocation, 'threshold', { min: Number.MIN_VALUE, max: 1, whole: false });
  const size = readImageSize(invocation);
  check(invocation, [
    ...(images === undefined ? ['--images is missing: a folder of images'] : []),
    ...(masks === undefined ? ['--masks is missing: a folder of PNGs with the objects of the images'] : []),
  ]);
  const interrupt = interruptSignal(() => io.note('interrupted'));
  try {
    const { evaluateAttentionSegmentation } = await import('../eval/attention-segmentation.js');
    const model = await loadForEvaluation(invocation);
    const count = counter(io);
    const result = await evaluateAttentionSegmentation(model, {
      ...size,
      images: images!,
      masks: masks!,
      threshold,
      objects: options['foreground'] === true ? 'foreground' : 'each',
      signal: interrupt.signal,
      onProgress: ({ done, total }) => count('images', done, total),
    });
    await keepResult(io, model, 'attention-segmentation', { imageFolder: images, masks, ...size, ...result });
    const { skipped, withoutMask } = result;
    if (withoutMask > 0) io.note(`${withoutMask} images have no mask and are passed over`);
    for (const { path, reason } of skipped.slice(0, 5)) io.warn(`${path}: ${reason}`);
    if (skipped.length > 5) io.warn(`${skipped.length - 5} more images left out`);
    io.warnOfLists(result);
    const lines = [
      `${result.images} images, ${result.objects} objects, attention thresholded to keep ${threshold}`,
      `Jaccard ${result.bestPerImage.toFixed(1)}   best head for each object`,
      `Jaccard ${result.bestHead.toFixed(1)}   the one best head`,
      `heads   ${result.heads.map((value) => value.toFixed(1)).join(' ')}`,
    ];
    io.result(result, lines.join('\n'));
  } finally {
    interrupt.release();
  }
}
