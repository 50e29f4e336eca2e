/** A classifier and its backbone as one ONNX file, from an image to probabilities. */
import path from 'node:path';
import { encodeModel } from '../export/onnx/proto.js';
import {
  buildOnnx,
  onnxSize,
  type OnnxExport,
  OPSET,
  shapes,
  writeBytes,
} from '../export/onnx/export-onnx.js';
import { compareOnnx, type OnnxCheck } from '../export/onnx/check.js';
import { addClassifierHead, addPatchMean, linearHead } from '../export/onnx/classifier-head.js';
import { CheckpointError } from '../errors.js';
import { batchFeatures } from '../eval/features.js';
import { checkNotInput } from '../files/new-places.js';
import { assertWritable } from '../files/output.js';
import { hasTokens } from '../models/index.js';
import { checkCall, filePath, instanceOf, optionsOf, pixels, yesOrNo } from '../plain/check-options.js';
import { probabilitiesOf } from '../plain/classifier-head.js';
import { fromTypedArray } from '../torch/index.js';
import { Classifier, headLogits } from './classifier.js';

export interface ExportClassifierOptions {
  /** Side in pixels, or [height, width], of the images that the file takes. Default: the size that the classifier was fitted at. */
  imageSize?: number | readonly [height: number, width: number];
  /** Take images of any size of at least a patch; default false. */
  dynamicSize?: boolean;
}

export interface ClassifierExport extends OnnxExport {
  /** Names of the classes, in the order of the probabilities. */
  classes: readonly string[];
}

/** The output's name. */
const PROBABILITIES = 'probabilities';

export const classifierArgument = instanceOf(
  Classifier,
  'a classifier, from fitClassifier() or loadClassifier()',
);

const exportOptions = optionsOf<ExportClassifierOptions>({}, { imageSize: pixels, dynamicSize: yesOrNo });

/**
 * Writes a classifier with its backbone as one ONNX file: `pixel_values` (B, 3, H, W) as exportOnnx() has them, to
 * `probabilities` (B, classes) and the network's features. Names of the classes are JSON in its metadata, `classes`, and so are the
 * sizes that images are brought to. The file is either whole or absent.
 *
 * @throws ConfigError for k-NN, features of several layers, an invalid size, an architecture that can't be exported or a file that the classifier was read from;
 *   CheckpointError when the file can't be written.
 */
export function exportClassifier(
  classifier: Classifier,
  file: string,
  options: ExportClassifierOptions = {},
): ClassifierExport {
  checkCall(
    'exportClassifier()',
    ['classifier', classifierArgument, classifier],
    ['file', filePath, file],
    ['options', exportOptions, options],
  );
  const { model, takes, classes } = classifier;
  const head = linearHead(classifier);
  const wanted = options.dynamicSize === true ? options : { imageSize: takes.crop, ...options };
  const size = onnxSize(model, wanted);
  assertWritable(file, CheckpointError);
  checkNotInput(file, model.origin.files);
  const isMean = takes.features === 'patch-mean';
  const outputs = isMean ? { patchTokens: 'patch_tokens' } : { classToken: 'class_token' };
  const onnx = buildOnnx(model, { size, outputs }, (graph) => {
    const feature = isMean
      ? addPatchMean(graph, 'patch_tokens')
      : hasTokens(model.backbone)
        ? 'class_token'
        : 'feature';
    addClassifierHead(graph, feature, head, PROBABILITIES);
  });
  const own = {
    classes: JSON.stringify(classes),
    resize_shorter_side: takes.resize,
    center_crop: takes.crop,
  };
  onnx.metadataProps = [
    ...onnx.metadataProps.filter(({ key }) => !Object.hasOwn(own, key)),
    ...Object.entries(own).map(([key, value]) => ({ key, value: String(value) })),
  ];
  const bytes = encodeModel(onnx);
  writeBytes(file, bytes);
  return {
    ...{ file: path.resolve(file), bytes: bytes.length, opset: OPSET, imageSize: size, classes },
    inputs: shapes(onnx.graph.input),
    outputs: shapes(onnx.graph.output),
  };
}

/**
 * Runs an exported classifier in onnxruntime on made-up images and compares its probabilities with ours.
 * @returns null when onnxruntime-node is not installed. @throws CheckpointError when they differ.
 */
export async function checkClassifierOnnx(
  classifier: Classifier,
  file: string,
  imageSize: readonly [height: number, width: number],
): Promise<OnnxCheck | null> {
  const { model, head, takes, classes } = classifier;
  return compareOnnx(
    model,
    file,
    { imageSize },
    {
      [PROBABILITIES](images) {
        const features = batchFeatures(model.backbone, images, takes.features, takes.layers); // (B, D)
        const rows = features.to('float32').toTypedArray() as Float32Array;
        const logits = headLogits(head, rows, features.size(1));
        const values = new Float32Array(logits.length);
        for (let at = 0; at < values.length; at += classes.length)
          values.set(probabilitiesOf(logits.subarray(at, at + classes.length), head.temperature), at);
        return fromTypedArray(values, [images.size(0), classes.length]);
      },
    },
  );
}
