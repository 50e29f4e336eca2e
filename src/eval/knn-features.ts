/**
 * Features kept for k-NN: `trainfeat.safetensors` and `testfeat.safetensors` in a folder, each with `features` (N, D)
 * float32 of length 1 and `labels` (N) int64, the classes' names in the metadata, and a number that both have alike, so that
 * those of two evaluations are not taken for one. The reference's --dump_features writes
 * the same four tensors as trainfeat.pth, trainlabels.pth, testfeat.pth and testlabels.pth, which are read too.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { CheckpointError } from '../errors.js';
import { fromTypedArray, scope, type Tensor } from '../torch/index.js';
import { PthFile, PthTensor } from '../weights/pth.js';
import { readSafetensors, writeSafetensors } from '../weights/safetensors.js';

interface Part {
  features: Tensor;
  labels: readonly number[];
}

export interface KnnFeatures {
  train: Part & { normalized: true };
  test: Part & { normalized: true };
  /** Names of the classes, in the order of their numbers. */
  classes: string[];
  /** Sizes at which the images were read, pixels; 0 when the file doesn't say. */
  resize: number;
  crop: number;
}

const fileOf = (folder: string, part: 'train' | 'test'): string =>
  path.join(folder, `${part}feat.safetensors`);

/** @throws CheckpointError when the folder can't be written. */
export function writeKnnFeatures(
  folder: string,
  train: Part,
  test: Part,
  about: { classes: readonly string[]; resize: number; crop: number },
): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw new CheckpointError(`${folder} can't be made: ${(error as Error).message}`, { cause: error });
  }
  const metadata = {
    classes: JSON.stringify(about.classes),
    resize: String(about.resize),
    crop: String(about.crop),
    evaluation: randomUUID(),
  };
  for (const [name, { features, labels }] of [
    ['train', train],
    ['test', test],
  ] as const) {
    scope(() => {
      const numbers = fromTypedArray(BigInt64Array.from(labels, BigInt), [labels.length]);
      writeSafetensors(fileOf(folder, name), { features, labels: numbers }, metadata);
    });
  }
}

/** The reference's two files of a part. @throws CheckpointError when they hold something else. */
function readTorchPart(folder: string, part: 'train' | 'test'): Map<string, Tensor> {
  const entries = ['feat', 'labels'].map((kind) => {
    const file = path.join(folder, `${part}${kind}.pth`);
    const pth = new PthFile(file);
    try {
      if (!(pth.value instanceof PthTensor))
        throw new CheckpointError(`${file}: expected one tensor, as torch.save(features) writes it`);
      return [kind === 'feat' ? 'features' : 'labels', pth.tensor(pth.value)] as const;
    } finally {
      pth.close();
    }
  });
  return new Map(entries);
}

function readPart(
  folder: string,
  part: 'train' | 'test',
  device: string,
): Part & { metadata: Record<string, string> } {
  const own = fileOf(folder, part);
  const theirs = path.join(folder, `${part}feat.pth`);
  const isTorch = !existsSync(own) && existsSync(theirs);
  const { tensors, metadata } = isTorch
    ? { tensors: readTorchPart(folder, part), metadata: {} }
    : readSafetensors(own);
  const features = tensors.get('features');
  const labels = tensors.get('labels');
  if (
    features?.ndim !== 2 ||
    features.dtype !== 'float32' ||
    features.size(0) === 0 ||
    labels?.dtype !== 'int64' ||
    labels.shape.join() !== String(features.size(0))
  ) {
    const found = [...tensors].map(([name, tensor]) => `${name} ${tensor.toString()}`).join(', ');
    throw new CheckpointError(
      `${isTorch ? theirs : own}: expected features (N, D) float32 and labels (N) int64, got ${found || 'no tensors'}. ` +
        'Write it with dino eval knn --dump-features.',
    );
  }
  const numbers = labels.toArray();
  if (numbers.some((label) => label < 0))
    throw new CheckpointError(`${isTorch ? theirs : own}: labels below 0`);
  return { features: scope(() => features.to(device)), labels: numbers, metadata };
}

/** @throws CheckpointError when a file is missing, damaged, or doesn't fit the other. */
export function readKnnFeatures(folder: string, device: string): KnnFeatures {
  const train = readPart(folder, 'train', device);
  const test = readPart(folder, 'test', device);
  const [widths, classes] = [
    [train.features.size(1), test.features.size(1)],
    train.metadata['classes'] ?? '[]',
  ];
  // older files have no number
  if (train.metadata['evaluation'] !== test.metadata['evaluation'] && widths[0] === widths[1])
    throw new CheckpointError(
      `${folder}: the training and the test features were written by different evaluations, as when the second was ` +
        'interrupted: write both again with dino eval knn --dump-features',
    );
  if (widths[0] !== widths[1] || classes !== (test.metadata['classes'] ?? '[]')) {
    throw new CheckpointError(
      `${folder}: the training and the test features are from different evaluations ` +
        `(${widths.join(' and ')} values per image, classes ${classes} and ${test.metadata['classes'] ?? '[]'})`,
    );
  }
  let names: string[];
  try {
    names = JSON.parse(classes) as string[];
  } catch (error) {
    throw new CheckpointError(`${folder}: the classes are damaged`, { cause: error });
  }
  return {
    train: { ...train, normalized: true },
    test: { ...test, normalized: true },
    classes: names,
    resize: Number(train.metadata['resize'] ?? 0),
    crop: Number(train.metadata['crop'] ?? 0),
  };
}
