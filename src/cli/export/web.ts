/** `dino export --format web`: see src/export/web/export-web.ts. */
import { CheckpointError } from '../../errors.js';
import { checkOnnx } from '../../export/onnx/check.js';
import { exportWeb, type GallerySource } from '../../export/web/export-web.js';
import { assertWritableFolder } from '../../files/output.js';
import { loadModel, type Model } from '../../model.js';
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

export async function exportTo({ args, options, io }: ExportCall): Promise<void> {
  const { output, dtype = 'fp16' } = options;
  await interruptible(
    () => io.note('interrupted'),
    async (signal) => {
      assertWritableFolder(output, CheckpointError);
      const model = loadModel(args.weights, whichNetwork(options));
      printOrigin(io, model.origin);
      try {
        const count = counter(io);
        const images = options.index === undefined ? options.images : await indexed(options.index, model, io);
        const result = await exportWeb(model, output, {
          ...{ dtype, signal },
          ...(images === undefined ? {} : { images }),
          ...pick(options, 'title', 'whiten'),
          onProgress: ({ done, total }) => count('images', done, total),
        });
        io.warnOfLists(result);
        for (const { path, reason } of result.skipped) io.warn(`skipped ${path}: ${reason}`);
        const imageSize = sizeToTry(model);
        const check = await checkOnnx(model, result.model, { imageSize, isExact: dtype === 'fp32' });
        const lines = [
          `${result.folder}: ${result.files} files, ${megabytes(result.bytes)}; a visitor loads ${megabytes(result.download)} and pictures`,
          result.attention === null
            ? `${model.architecture.arch} has no attention to draw: the page only finds neighbours`
            : `the page draws attention${result.images > 0 ? `, and finds neighbours among ${result.images} images` : ''}`,
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
