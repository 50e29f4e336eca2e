/** The messages between the page and its worker. */
import type { PatchColours } from '../../../src/plain/patch-colours.ts';
import type { WebClassifier, WebManifest } from '../../../src/plain/web-manifest.ts';

export interface Opened {
  /** Where the model computes. */
  backend: 'WebGPU' | 'WebAssembly';
  threads: number;
}

/** An image and what the model's last block says about it. */
export interface Attended {
  /** Names this answer, see `colours`. */
  id: number;
  /** The image as the model saw it, whole patches; RGBA. */
  pixels: Uint8ClampedArray<ArrayBuffer>;
  width: number;
  height: number;
  /** The shares of the image's width and height that the patches cover. */
  original: readonly [width: number, height: number];
  rows: number;
  columns: number;
  heads: number;
  /** As in FittedSize (src/plain/attention-size.ts). */
  limit: number | null;
  isSqueezed: boolean;
  /** (heads, rows, columns) */
  maps: Float32Array<ArrayBuffer>;
  /** (rows * columns, D), rows of length 1; null where patches have no features. */
  patches: Float32Array<ArrayBuffer> | null;
  milliseconds: number;
}

/** A feature of an image: which one, and at which size the image is looked at. */
export type FeatureKind = Pick<WebClassifier, 'features' | 'sizes'>;

/** Each request: what goes in, what comes out. */
export interface Requests {
  open: { input: { manifest: WebManifest; model: Uint8Array; wasm: ArrayBuffer }; output: Opened };
  /** `side`: the shorter one, pixels; less for an image that would have more than `maxPatches`. */
  attend: { input: { image: Blob; side: number; maxPatches: number }; output: Attended };
  /** Of the last answer to `attend`; null where its patches have no features, or another one has come. */
  colours: { input: { id: number }; output: PatchColours | null };
  /** (D), as the network gives it. */
  feature: { input: { image: Blob; kind: FeatureKind }; output: Float32Array };
}

export type RequestName = keyof Requests;
export type Request = {
  [K in RequestName]: { id: number; name: K; input: Requests[K]['input'] };
}[RequestName];

export type Reply = { id: number; output: unknown } | { id: number; error: string };
