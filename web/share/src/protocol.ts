/** The messages between the page and its worker. */
import type { WebManifest } from '../../../src/plain/web-manifest.ts';

export interface Opened {
  /** Where the model computes. */
  backend: 'WebGPU' | 'WebAssembly';
  threads: number;
}

/** An image and what the model's last block says about it. */
export interface Attended {
  /** The image as the model saw it, whole patches; RGBA. */
  pixels: Uint8ClampedArray<ArrayBuffer>;
  width: number;
  height: number;
  rows: number;
  columns: number;
  heads: number;
  /** (heads, rows, columns) */
  maps: Float32Array<ArrayBuffer>;
  /** (rows * columns, D), rows of length 1; null where patches have no features. */
  patches: Float32Array<ArrayBuffer> | null;
  milliseconds: number;
}

/** Each request: what goes in, what comes out. */
export interface Requests {
  open: { input: { manifest: WebManifest; model: Uint8Array; wasm: ArrayBuffer }; output: Opened };
  /** `side`: the shorter one, pixels. */
  attend: { input: { image: Blob; side: number }; output: Attended };
  feature: { input: { image: Blob }; output: Float32Array<ArrayBuffer> };
}

export type RequestName = keyof Requests;
export type Request = {
  [K in RequestName]: { id: number; name: K; input: Requests[K]['input'] };
}[RequestName];

export type Reply = { id: number; output: unknown } | { id: number; error: string };
