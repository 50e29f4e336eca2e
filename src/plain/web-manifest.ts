/** The files that `dino export --format web` writes: the exporter and the page share their types. */

import type { MeasuredAccuracy } from './classifier-head.js';
import type { TransformMode } from './feature-transform.js';

/** How the model's weights are stored in its file. */
export const WEB_DTYPES = ['fp32', 'fp16', 'q8'] as const;
export type WebDtype = (typeof WEB_DTYPES)[number];

/** model.json */
export interface WebManifest {
  /** Identifies the kind of folder. */
  format: 'dino-web';
  /** Of this package. */
  packageVersion: string;
  title: string;
  model: {
    /** File name in the folder. */
    file: string;
    bytes: number;
    dtype: WebDtype;
    arch: string;
    parameters: number;
    /** Width of a feature. */
    embedDim: number;
    /** Side of a patch, pixels. */
    patchSize: number;
    /** Side of the images that the model was made for, pixels. */
    imgSize: number;
    /** Attention heads; 0 for a model without attention to show. */
    heads: number;
    outputs: {
      /** (B, D) */
      feature: string;
      /** (B, heads, 1, 1 + N); null without attention. */
      attention: string | null;
      /** (B, N, D); null where patches have no features. */
      patches: string | null;
    };
  };
  /** For the feature of an image: shorter side to `resize` (Pillow's bicubic), then the central `crop` x `crop`. */
  sizes: { resize: number; crop: number };
  /** Channels in [0, 1] are normalized by subtracting the mean and dividing by the standard deviation. */
  mean: readonly number[];
  std: readonly number[];
  /** Null without images. */
  gallery: WebGallery | null;
  /** Null for a model without a classifier that the page can compute. */
  classifier: WebClassifier | null;
  /** Every file of the export except this one, relative to it. */
  files: string[];
}

/** model.json of an export that is being written or broke off. */
export interface UnfinishedManifest extends Pick<WebManifest, 'format' | 'files'> {
  unfinished: true;
}

export interface WebGallery {
  count: number;
  /** (count, embedDim) float32, little-endian, each row of length 1, transformed. */
  features: string;
  /** What a query goes through before it is compared; null where features are compared as they are. */
  transform: {
    mode: 'center' | 'pca';
    /** (embedDim) mean and, for `pca`, (embedDim, embedDim) matrix, float32, little-endian. */
    file: string;
  } | null;
  /** JSON: (GalleryImage)[]. */
  images: string;
  /** Rows of images to begin with, one of each kind; all of them have a picture. */
  samples: number[];
}

/** A linear classifier of features; src/plain/classifier-head.ts computes it. */
export interface WebClassifier {
  classes: string[];
  /** Calibrates the probabilities. */
  temperature: number;
  /** Which feature of an image it takes: the class token's, or the mean of the patches'. */
  features: 'cls' | 'patch-mean';
  /** Of the images that it takes, as the manifest's own. */
  sizes: { resize: number; crop: number };
  /** What a feature goes through first; null: it is used as the network gives it. */
  transform: TransformMode | null;
  /** Weight (classes, embedDim), bias (classes), and the transform's mean and matrix where it has them: float32, little-endian. */
  file: string;
  /** What it got right when it was measured; null: it was not. */
  measured: MeasuredAccuracy | null;
}

export interface GalleryImage {
  /** Path relative to the folder of images. */
  name: string;
  /** Class folder; null if there are none. */
  label: string | null;
  /** Small picture, relative to the export. */
  thumbnail: string;
  /** Of the small picture. */
  width: number;
  height: number;
  /** A picture large enough for the model; null where there is only the small one. */
  picture: string | null;
}
