/** The labels of a classifier that was exported with the model. */
import { classifyFeature, type LinearHead } from '../../../src/plain/classifier-head.ts';
import { largest } from '../../../src/plain/maps.ts';
import type { WebClassifier, WebManifest } from '../../../src/plain/web-manifest.ts';
import { count, percent } from '../../src/ui/format.ts';
import { loadFloats } from './load.ts';

export interface Classifier {
  about: WebClassifier;
  head: LinearHead;
}

export async function loadClassifier({ model, classifier }: WebManifest): Promise<Classifier | null> {
  if (classifier === null) return null;
  const { classes, temperature, transform, file } = classifier;
  const values = await loadFloats(file);
  const { embedDim } = model;
  let at = 0;
  const next = (length: number): Float32Array => values.subarray(at, (at += length));
  const [weight, bias] = [next(classes.length * embedDim), next(classes.length)];
  const head: LinearHead = {
    ...{ kind: 'logistic', classes, temperature, weight, bias },
    transform:
      transform === null
        ? null
        : {
            mode: transform,
            mean: transform === 'none' ? null : next(embedDim),
            matrix: transform === 'pca' ? next(embedDim * embedDim) : null,
          },
  };
  return { about: classifier, head };
}

/** Labels that are shown. */
const SHOWN = 5;

/** A label and its probability, 0 to 1. */
export interface Label {
  label: string;
  probability: number;
}

/** The most probable labels of a feature, the first one first. */
export function labelsOf({ head }: Classifier, feature: Float32Array): Label[] {
  const probabilities = classifyFeature(head, feature);
  return largest(Float32Array.from(probabilities), SHOWN).map((i) => ({
    label: head.classes[i]!,
    probability: probabilities[i]!,
  }));
}

/** How a classifier was measured, in a sentence. */
function measuredWords({ measured }: WebClassifier): string {
  if (measured === null) return '';
  const { from, images, accuracy, low, high } = measured;
  const how = from === 'validation' ? 'that were kept for measuring it' : 'by cross-validation';
  return (
    ` On ${count(images)} images ${how}, it was right for ${percent(accuracy)} ` +
    `(${percent(low)} to ${percent(high)} with 95% confidence).`
  );
}

export function LabelCard({ classifier, labels }: { classifier: Classifier; labels: readonly Label[] }) {
  const [first] = labels;
  if (first === undefined) return null;
  return (
    <section class="card" aria-label="Label">
      <h2>
        Label: {first.label}, {percent(first.probability)}
      </h2>
      <ol class="labels">
        {labels.map(({ label, probability }) => (
          <li key={label}>
            <span class="label">{label}</span>
            <span class="bar" aria-hidden="true">
              <span style={{ width: `${100 * probability}%` }} />
            </span>
            <span class="share">{percent(probability, 1)}</span>
          </li>
        ))}
      </ol>
      <p class="note">
        A classifier of {count(classifier.head.classes.length)} classes, fitted to this model’s features, with
        calibrated probabilities: of the labels to which it gives 80%, about 80% are right.
        {measuredWords(classifier.about)} An image of none of its classes gets one of them all the same.
      </p>
    </section>
  );
}
