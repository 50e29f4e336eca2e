/** `dino export --format web`: see src/export/web/export-web.ts. */
import { CheckpointError } from '../errors.js';
import { assertWritableFolder } from '../files/output.js';
import { shellPath } from '../plain/shell.js';
import { loadModel, type Model } from '../model.js';
import { checkOnnx } from '../export/onnx/check.js';
import { exportWeb, type GallerySource, WEB_DTYPES } from '../export/web/export-web.js';
import type { WebDtype } from '../plain/web-manifest.js';
import { check, interruptSignal, type Invocation } from './command.js';
import { counter, sayOfWeights } from './eval-options.js';
import { tellRoot } from './explore-options.js';
import type { ExportTarget } from './export-target.js';

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

async function indexed(folder: string, model: Model, io: Invocation['io']): Promise<GallerySource> {
  const [{ ImageIndex }, { galleryOfIndex }] = await Promise.all([
    import('../explore/image-index.js'),
    import('../explore/gallery.js'),
  ]);
  using index = ImageIndex.open(folder);
  tellRoot(io, index);
  return galleryOfIndex(index, model);
}

export async function exportTo(target: ExportTarget, invocation: Invocation): Promise<void> {
  const { options, io, problems } = invocation;
  const dtype = (options['dtype'] ?? 'fp16') as WebDtype;
  if (!WEB_DTYPES.includes(dtype))
    problems.push(`--dtype is ${String(dtype)}; expected ${WEB_DTYPES.join(', ')}`);
  if (options['withHead'] === true) problems.push('--with-head: web has the backbone alone');
  if (options['imageSize'] !== undefined) problems.push('--image-size: the page takes images of any size');
  if (options['images'] !== undefined && options['index'] !== undefined)
    problems.push('--images and --index: give one of the two');
  check(invocation);
  const title = options['title'] as string | undefined;
  const interrupt = interruptSignal(() => io.note('interrupted'));
  assertWritableFolder(target.output, CheckpointError);
  const model = loadModel(target.weights, target.which);
  sayOfWeights(io, model.origin);
  try {
    const count = counter(io);
    const images =
      typeof options['index'] === 'string'
        ? await indexed(options['index'], model, io)
        : (options['images'] as string | undefined);
    const result = await exportWeb(model, target.output, {
      dtype,
      signal: interrupt.signal,
      ...(images === undefined ? {} : { images }),
      ...(title === undefined ? {} : { title }),
      onProgress: ({ done, total }) => count('images', done, total),
    });
    for (const { path, reason } of result.skipped) io.warn(`skipped ${path}: ${reason}`);
    io.warnOfLists(result);
    const { imgSize, patchSize } = model.architecture;
    // no multiple of the learnt grid
    const imageSize = [imgSize + 2 * patchSize, imgSize + patchSize] as const;
    const comparison = await checkOnnx(model, result.model, { imageSize, isExact: dtype === 'fp32' });
    const lines = [
      `${result.folder}: ${result.files} files, ${megabytes(result.bytes)}; a visitor loads ${megabytes(result.download)} and pictures`,
      result.attention === null
        ? `${model.architecture.arch} has no attention to draw: the page finds neighbours alone`
        : `the page draws attention${result.images > 0 ? `, and finds neighbours among ${result.images} images` : ''}`,
      comparison === null
        ? 'not checked: onnxruntime-node is not installed (npm install onnxruntime-node)'
        : `checked in onnxruntime: cosine similarity of ${comparison.cosine.toFixed(5)} or more to ours (${dtype})`,
      `look at it with any static server: npx serve ${shellPath(target.output)}`,
    ];
    io.result({ ...result, dtype, check: comparison }, lines.join('\n'));
  } finally {
    model.dispose();
    interrupt.release();
  }
}
