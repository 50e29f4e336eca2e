/** `dino export --format onnx|transformers`: see src/export/onnx/. */
import path from 'node:path';
import { CheckpointError } from '../../errors.js';
import { assertWritable, assertWritableFolder } from '../../files/output.js';
import { loadModel } from '../../model.js';
import type { OnnxCheck } from '../../export/onnx/check.js';
import { check, type Invocation } from '../command.js';
import { readList, sayOfWeights } from '../eval/options.js';
import type { ExportTarget } from './target.js';

/** Side for the check of a file that takes any size: no multiple of the learnt grid. */
const sizeToTry = (imgSize: number, patchSize: number): [number, number] => [
  imgSize + 2 * patchSize,
  imgSize + patchSize,
];

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

const checked = (result: OnnxCheck | null): string =>
  result === null
    ? 'not checked: onnxruntime-node is not installed (npm install onnxruntime-node)'
    : `checked in onnxruntime: off by ${Math.max(...Object.values(result.differences)).toExponential(1)} at most`;

export async function exportTo(target: ExportTarget, invocation: Invocation): Promise<void> {
  const { options, io, problems } = invocation;
  const dynamicSize = options['dynamicSize'] === true;
  let size: number[] = [];
  if (options['imageSize'] !== undefined) {
    invocation.options['image-size'] = options['imageSize'];
    size = readList(invocation, 'image-size');
    const most = target.format === 'onnx' ? 2 : 1;
    if (size.length > most)
      problems.push(`--image-size takes ${most === 2 ? 'one number or two' : 'one number with this format'}`);
    if (dynamicSize && target.format === 'onnx')
      problems.push('--image-size and --dynamic-size exclude each other: one size, or any');
  }
  if (options['withHead'] === true) problems.push(`--with-head: ${target.format} has the backbone alone`);
  if (options['attention'] === true && target.format !== 'onnx')
    problems.push('--attention: only --format onnx gives it');
  check(invocation);
  const { exportOnnx } = await import('../../export/onnx/export-onnx.js');
  const { exportTransformers } = await import('../../export/transformers/export-transformers.js');
  const { checkOnnx } = await import('../../export/onnx/check.js');
  if (target.format === 'onnx') assertWritable(target.output, CheckpointError);
  else assertWritableFolder(target.output, CheckpointError);
  const model = loadModel(target.weights, { ...target.which, device: 'cpu' });
  sayOfWeights(io, model.origin);
  const [first, second] = size;
  const { imgSize, patchSize } = model.architecture;
  try {
    if (target.format === 'onnx') {
      const imageSize =
        first === undefined
          ? {}
          : { imageSize: second === undefined ? first : ([first, second] as [number, number]) };
      const attention = options['attention'] === true;
      const result = exportOnnx(model, target.output, { ...imageSize, dynamicSize, attention });
      const comparison = await checkOnnx(model, result.file, {
        imageSize: result.imageSize ?? sizeToTry(imgSize, patchSize),
      });
      const input = result.inputs['pixel_values']!.join(' x ');
      io.result(
        { ...result, check: comparison },
        `${result.file}: ${megabytes(result.bytes)}, opset ${result.opset}, pixel_values ${input} to ` +
          `${Object.keys(result.outputs).join(', ')}\n${checked(comparison)}`,
      );
      return;
    }
    const result = exportTransformers(model, target.output, {
      dynamicSize,
      ...(first === undefined ? {} : { imageSize: first }),
    });
    const imageSize = [result.crop, result.crop] as const;
    const onnx = path.join(result.folder, 'onnx');
    const comparison = await checkOnnx(model, path.join(onnx, 'model.onnx'), { imageSize });
    const quantized = await checkOnnx(model, path.join(onnx, 'model_quantized.onnx'), {
      imageSize,
      isExact: false,
    });
    const files = Object.entries(result.files).map(([name, bytes]) => `  ${name} ${megabytes(bytes)}`);
    io.result(
      { ...result, check: comparison, quantizedCheck: quantized },
      `${result.folder}: images resized to ${result.resize}, central ${result.crop}\n${files.join('\n')}\n` +
        checked(comparison) +
        (quantized === null
          ? ''
          : `\nquantised: cosine similarity of ${quantized.cosine.toFixed(4)} or more to ours`),
    );
  } finally {
    model.dispose();
  }
}
