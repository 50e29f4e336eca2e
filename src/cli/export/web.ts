/** `dino export --format web`: see src/export/web/export-web.ts. */
import { CheckpointError, ConfigError } from '../../errors.js';
import { checkOnnx, tooFar } from '../../export/onnx/check.js';
import { noAttention } from '../../explain/attention.js';
import { linearHead } from '../../export/onnx/classifier-head.js';
import { exportWeb, type WebExport } from '../../export/web/export-web.js';
import type { GallerySource } from '../../export/web/gallery.js';
import { assertWritableFolder } from '../../files/output.js';
import type { Classifier } from '../../classify/classifier.js';
import { loadModel, type Model } from '../../model.js';
import { isAttentive } from '../../models/index.js';
import { shellPath } from '../../plain/shell.js';
import { counter } from '../counter.js';
import { warnOfRoot } from '../explore/options.js';
import { pick } from '../flags.js';
import { interruptible } from '../interrupt.js';
import type { Output } from '../output.js';
import { printOrigin, whichNetwork } from '../weights/options.js';
import { type ExportCall, megabytes, NOT_CHECKED, sizeToTry } from './options.js';

async function indexed(folder: string, model: Model, io: Output): Promise<GallerySource> {
  const [{ ImageIndex }, { galleryOfIndex }] = await Promise.all([
    import('../../explore/image-index.js'),
    import('../../explore/gallery.js'),
  ]);
  using index = ImageIndex.open(folder);
  warnOfRoot(io, index);
  return galleryOfIndex(index, model);
}

/** The classifier that a file of weights holds, where the page can compute it. */
async function classifierIn(weights: string, io: Output): Promise<Classifier | null> {
  const { holdsClassifier, loadClassifier } = await import('../../classify/classifier-file.js');
  if (!holdsClassifier(weights)) return null;
  const classifier = loadClassifier(weights, { device: 'cpu', onWarning: (message) => io.warn(message) });
  try {
    linearHead(classifier);
    return classifier;
  } catch (error) {
    classifier.dispose();
    if (!(error instanceof ConfigError)) throw error;
    io.warn(`the page does not show the classifier's labels: ${error.problems.join('; ')}`);
    return null;
  }
}

/** What a visitor sees of an image, besides its label. */
function whatThePageDoes(
  arch: string,
  { attention, patches, images }: Pick<WebExport, 'attention' | 'patches' | 'images'>,
): string {
  const does = [
    ...(attention === null ? [] : ['draws attention']),
    ...(patches === null ? [] : ['shows likeness and parts in colour']),
    ...(images === 0 ? [] : [`finds neighbours among ${images} images`]),
  ];
  const lacks = attention === null ? `${arch} has no attention to draw: ` : '';
  if (does.length === 0) return `${lacks}without --images or --index the page finds no neighbours either`;
  const last = does.pop()!;
  return `${lacks}the page ${does.length === 0 ? last : `${does.join(', ')} and ${last}`}`;
}

export async function exportTo({ args, options, io }: ExportCall): Promise<void> {
  const { output, dtype = 'fp16' } = options;
  await interruptible(
    () => io.note('interrupted'),
    async (signal) => {
      assertWritableFolder(output, CheckpointError);
      const model = loadModel(args.weights, whichNetwork(options));
      printOrigin(io, model.origin);
      try {
        if (options.attention && !isAttentive(model.backbone))
          throw new ConfigError(noAttention(model.architecture.arch));
        using classifier = await classifierIn(args.weights, io);
        const count = counter(io);
        const images = options.index === undefined ? options.images : await indexed(options.index, model, io);
        const result = await exportWeb(model, output, {
          ...{ dtype, signal },
          ...(images === undefined ? {} : { images }),
          ...(classifier === null ? {} : { classifier }),
          ...pick(options, 'title', 'whiten'),
          onProgress: ({ done, total }) => count('images', done, total),
        });
        io.warnOfLists(result);
        for (const { path, reason } of result.skipped) io.warn(`skipped ${path}: ${reason}`);
        const imageSize = sizeToTry(model);
        const check = await checkOnnx(model, result.model, { imageSize, isExact: dtype === 'fp32' });
        const why = dtype === 'fp32' ? null : tooFar(check, dtype === 'q8' ? 8 : 16);
        if (why !== null)
          throw new CheckpointError(
            `${why}: don't use ${result.folder}; export it again with --dtype ${dtype === 'q8' ? 'fp16' : 'fp32'}, which replaces it`,
          );
        const lines = [
          `${result.folder}: ${result.files} files, ${megabytes(result.bytes)}; a visitor loads ${megabytes(result.download)} and pictures`,
          whatThePageDoes(model.architecture.arch, result),
          ...(result.classes === null
            ? []
            : [`it names one of ${result.classes.length} classes, with a probability`]),
          check === null
            ? NOT_CHECKED
            : `checked in onnxruntime: cosine similarity of ${check.cosine.toFixed(5)} or more to ours (${dtype})`,
          `look at it with any static server: npx serve ${shellPath(output)}`,
        ];
        io.result({ ...result, dtype, check }, lines.join('\n'));
      } finally {
        model.dispose();
      }
    },
  );
}
