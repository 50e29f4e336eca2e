/** `dino export --format onnx|transformers`: see src/export/onnx/. */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { CheckpointError } from '../../errors.js';
import { checkOnnx, type OnnxCheck, tooFar } from '../../export/onnx/check.js';
import { exportOnnx } from '../../export/onnx/export-onnx.js';
import { QUANTIZED_FILE } from '../../export/transformers/earlier-export.js';
import {
  exportTransformers,
  type TransformersExport,
} from '../../export/transformers/export-transformers.js';
import { assertWritable, assertWritableFolder } from '../../files/output.js';
import { loadModel, type Model } from '../../model.js';
import { pick } from '../flags.js';
import type { Output } from '../output.js';
import { printOrigin, whichNetwork } from '../weights/options.js';
import { cardLine, writeCard } from './card.js';
import { type ExportCall, megabytes, NOT_CHECKED, sizeToTry } from './options.js';

const checked = (result: OnnxCheck | null): string =>
  result === null
    ? NOT_CHECKED
    : `checked in onnxruntime: off by ${Math.max(...Object.values(result.differences)).toExponential(1)} at most`;

export async function exportTo(call: ExportCall): Promise<void> {
  const { args, options, io } = call;
  const isFile = options.format === 'onnx';
  if (isFile) assertWritable(options.output, CheckpointError);
  else assertWritableFolder(options.output, CheckpointError);
  const model = loadModel(args.weights, { ...whichNetwork(options), device: 'cpu' });
  printOrigin(io, model.origin);
  try {
    await (isFile ? exportFile : exportFolder)(model, call);
  } finally {
    model.dispose();
  }
}

async function exportFile(model: Model, call: ExportCall): Promise<void> {
  const { options, io } = call;
  const [first, second] = options.imageSize ?? [];
  const size = first === undefined || second === undefined ? first : ([first, second] as const);
  const result = exportOnnx(model, options.output, {
    ...pick(options, 'dynamicSize', 'attention'),
    ...(size === undefined ? {} : { imageSize: size }),
  });
  const check = await checkOnnx(model, result.file, { imageSize: result.imageSize ?? sizeToTry(model) });
  const input = result.inputs['pixel_values']!.join(' x ');
  const card = writeCard(
    call,
    'onnx',
    result.imageSize === null ? { dynamicSize: true } : { imageSize: result.imageSize },
  );
  io.result(
    { ...result, check, card },
    `${result.file}: ${megabytes(result.bytes)}, opset ${result.opset}, pixel_values ${input} to ` +
      `${Object.keys(result.outputs).join(', ')}\n${checked(check)}${cardLine(card)}`,
  );
}

async function exportFolder(model: Model, call: ExportCall): Promise<void> {
  const { options, io } = call;
  const [side] = options.imageSize ?? [];
  const result = exportTransformers(model, options.output, {
    ...pick(options, 'dynamicSize'),
    ...(side === undefined ? {} : { imageSize: side }),
  });
  const imageSize = [result.crop, result.crop] as const;
  const check = await checkOnnx(model, path.join(result.folder, 'onnx', 'model.onnx'), { imageSize });
  const quantizedCheck = await checkQuantized(model, result, io);
  const card = writeCard(call, 'transformers', {
    ...{ imageSize: result.crop, resize: result.resize },
    ...pick(options, 'dynamicSize'),
  });
  const files = Object.entries(result.files).map(([name, bytes]) => `  ${name} ${megabytes(bytes)}`);
  io.result(
    { ...result, check, quantizedCheck, card },
    `${result.folder}: images resized to ${result.resize}, central ${result.crop}\n${files.join('\n')}\n` +
      checked(check) +
      (quantizedCheck === null || !Object.hasOwn(result.files, QUANTIZED_FILE)
        ? ''
        : `\nquantised: cosine similarity of ${quantizedCheck.cosine.toFixed(4)} or more to ours`) +
      cardLine(card),
  );
}

/** Measures the file with weights of 8 bits, and removes it where it is too far from the model. */
async function checkQuantized(
  model: Model,
  { folder, files, crop }: TransformersExport,
  io: Output,
): Promise<OnnxCheck | null> {
  if (!Object.hasOwn(files, QUANTIZED_FILE)) {
    io.note(`no file with 8-bit weights: ${model.architecture.arch} has no matrix products; fp32 is written`);
    return null;
  }
  const file = path.join(folder, QUANTIZED_FILE);
  const check = await checkOnnx(model, file, { imageSize: [crop, crop], isExact: false });
  const why = tooFar(check, 8);
  if (why !== null) {
    rmSync(file, { force: true });
    delete files[QUANTIZED_FILE];
    io.warn(`${why}: without model_quantized.onnx; fp32 is written, onnx/model.onnx (dtype: 'fp32')`);
  }
  return check;
}
