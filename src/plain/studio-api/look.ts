/** What the studio's section Look asks and is told, and its routes. */

/** A model that can be looked with. */
export interface LookModel {
  /** Absolute. */
  path: string;
  name: string;
  kind: 'run' | 'file';
  /** Of a run, oldest first; it is looked with at the newest unless one is named. */
  checkpoints: { step: number; path: string }[];
}

export interface LookModels {
  models: LookModel[];
  /** Whether all folders were looked through for weights. */
  isWhole: boolean;
}

/** An image of the given folders, or one that was uploaded. */
export type LookImage = { path: string } | { upload: string };

/** An image that was given by hand: its name for later requests, and its size in pixels. */
export interface LookUpload {
  id: string;
  width: number;
  height: number;
}

export interface LookRequest {
  /** WEIGHTS: a run, a checkpoint, a file. */
  weights: string;
  /** `teacher`, or the only one there is; or another network of the file. */
  checkpointKey: string;
  /** Of a file that doesn't say its attention heads; else null. */
  numHeads?: number | null | undefined;
  /** One, or two that share their colours. */
  images: LookImage[];
  /** Shorter side in pixels; null for the usual one. */
  side: number | null;
}

/**
 * What is known of packed arrays, see packed.ts: for each image its pixels (height, width, 3), maps (heads, rows, columns),
 * and where there are any features (rows * columns, embedDim), of length 1, colours (rows, columns, 3) that are black in the
 * background, and colours of all patches.
 */
export interface LookFacts {
  arch: string;
  patchSize: number;
  imgSize: number;
  embedDim: number;
  /** What the weights leave open: which network was taken, heads that are guessed. */
  remarks: string[];
  /** Shares of the variance in the three colours; empty without. */
  explained: number[];
  milliseconds: number;
  images: {
    rows: number;
    columns: number;
    width: number;
    height: number;
    heads: number;
    /** The most patches, where these are why it is smaller than was asked for; else null. */
    limit: number | null;
    /** Its longer side was shortened: its proportions are not kept. */
    isSqueezed: boolean;
    /** Shares of the original's width and height that the patches cover. */
    original: [width: number, height: number];
    hasFeatures: boolean;
    hasColours: boolean;
  }[];
}

/** The section Look. */
export interface LookApi {
  'GET /api/look/models': { reply: LookModels };
  /** A few images of the given folders, to begin with. */
  'GET /api/look/samples': { reply: { name: string; path: string }[] };
  /** Keeps an image for later requests. */
  'POST /api/upload/look': { body: Blob; reply: LookUpload };
  /** Packed, with LookFacts. */
  'POST /api/look': { body: LookRequest; reply: Uint8Array };
}
