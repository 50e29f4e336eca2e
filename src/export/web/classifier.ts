/** The classifier of a web export: what the page computes of a feature, so that it shows a label with its probability. */
import { ConfigError } from '../../errors.js';
import type { ClassifierHead, MeasuredAccuracy } from '../../plain/classifier-head.js';
import { NO_TRANSFORM } from '../../plain/feature-transform.js';
import type { WebClassifier } from '../../plain/web-manifest.js';
import { linearHead } from '../onnx/classifier-head.js';
import { bytesOf, transformBytes } from './gallery.js';

/** A classifier of the exported model's features, such as fitClassifier() and loadClassifier() give. */
export interface WebClassifierSource {
  readonly head: ClassifierHead;
  /** Which feature of an image it takes, and at which size. */
  readonly takes: {
    readonly features: WebClassifier['features'];
    readonly layers: number;
    readonly resize: number;
    readonly crop: number;
  };
  /** How it was measured. */
  readonly origin?: { readonly measured: MeasuredAccuracy | null };
}

export const CLASSIFIER_FILE = 'classifier.bin';

/**
 * Checks that the page can compute it. @returns What writes its file, and describes it.
 * @throws ConfigError for k-NN, features of several layers or of another width than the model's.
 */
export function prepareClassifier(
  source: WebClassifierSource,
  embedDim: number,
): (write: (name: string, bytes: Uint8Array) => void) => WebClassifier {
  const head = linearHead(source);
  const { classes, weight, bias, transform, temperature } = head;
  if (weight.length !== classes.length * embedDim)
    throw new ConfigError(
      `the classifier takes features of ${weight.length / classes.length} numbers, and this model gives ${embedDim}: ` +
        'export the classifier with the model that it was fitted to',
    );
  const { features, resize, crop } = source.takes;
  return (write) => {
    write(
      CLASSIFIER_FILE,
      Buffer.concat([bytesOf(weight), bytesOf(bias), transformBytes(transform ?? NO_TRANSFORM)]),
    );
    return {
      ...{ classes: [...classes], temperature, features, sizes: { resize, crop }, file: CLASSIFIER_FILE },
      transform: transform?.mode ?? null,
      measured: source.origin?.measured ?? null,
    };
  };
}
