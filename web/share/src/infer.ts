/**
 * The model, in a worker so that the page never waits: decodes an image, brings it to size as training's evaluation does
 * (src/data, Pillow's resize), runs the ONNX file in onnxruntime-web.
 */
import type * as Ort from 'onnxruntime-web/wasm';
import { centerCropWindow, resizedShape } from '../../../src/plain/eval-geometry.ts';
import { pillowResize } from '../../../src/plain/pillow-resize.ts';
import { coveredShares, fittedSize } from '../../../src/plain/attention-size.ts';
import { likeness, meanMap, unitRows } from '../../../src/plain/maps.ts';
import { COMPONENTS, type PatchColours, patchColours } from '../../../src/plain/patch-colours.ts';
import type { WebManifest } from '../../../src/plain/web-manifest.ts';
import { withAlpha } from '../../src/attention/pixels.ts';
import { decode, type Pixels } from './decode.ts';
import type { Attended, Opened, Reply, Request, Requests } from './protocol.ts';

/** A build of onnxruntime-web; each has a worker of its own, so that a browser loads the one that it needs. */
export interface Runtime {
  ort: typeof Ort;
  provider: 'webgpu' | 'wasm';
}

interface Engine {
  ort: typeof Ort;
  session: Ort.InferenceSession;
  manifest: WebManifest;
}

const post = (reply: Reply, transfer: Transferable[] = []): void => self.postMessage(reply, { transfer });

let engine: Engine | null = null;

const normalized = (manifest: WebManifest, { rgb, width, height }: Pixels): Float32Array => {
  const { mean, std } = manifest;
  const plane = width * height;
  const values = new Float32Array(3 * plane);
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < plane; i++) values[c * plane + i] = (rgb[i * 3 + c]! / 255 - mean[c]!) / std[c]!;
  }
  return values;
};

async function compute(
  { ort, session, manifest }: Engine,
  pixels: Pixels,
  outputs: string[],
): Promise<Record<string, Float32Array>> {
  const values = normalized(manifest, pixels);
  const input = new ort.Tensor('float32', values, [1, 3, pixels.height, pixels.width]);
  const results = await session.run({ pixel_values: input }, outputs);
  const found: Record<string, Float32Array> = {};
  for (const [name, value] of Object.entries<Ort.Tensor>(results)) {
    found[name] = (await value.getData()) as Float32Array;
    value.dispose();
  }
  input.dispose();
  return found;
}

/** Loads the model and runs it once: only then does it show what a device can't do. */
async function open(runtime: Runtime, { manifest, model, wasm }: Requests['open']['input']): Promise<Opened> {
  const { ort, provider } = runtime;
  // several threads need cross-origin isolation, which takes headers from the server
  const threads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = 'error';
  const options = { executionProviders: [provider], logSeverityLevel: 3 } as const;
  const made = { ort, session: await ort.InferenceSession.create(model, options), manifest };
  const side = manifest.model.imgSize;
  const black = { rgb: new Uint8Array(side * side * 3), width: side, height: side };
  await compute(made, black, [manifest.model.outputs.feature]);
  engine = made;
  return { backend: provider === 'webgpu' ? 'WebGPU' : 'WebAssembly', threads };
}

function cutOut(
  { rgb, width }: Pixels,
  window: { x: number; y: number; width: number; height: number },
): Pixels {
  const out = new Uint8Array(window.width * window.height * 3);
  for (let y = 0; y < window.height; y++) {
    const from = ((window.y + y) * width + window.x) * 3;
    out.set(rgb.subarray(from, from + window.width * 3), y * window.width * 3);
  }
  return { rgb: out, width: window.width, height: window.height };
}

const resized = (
  pixels: Pixels,
  to: { width: number; height: number },
  filter: 'bilinear' | 'bicubic',
): Pixels => ({
  ...to,
  rgb: pillowResize(pixels.rgb, pixels, to, filter),
});

/** What the colours of the last image are made of. */
let last: { id: number; patches: Float32Array; attention: Float32Array; embedDim: number } | null = null;
let answered = 0;

async function attend(
  at: Engine,
  { image, side, maxPatches }: Requests['attend']['input'],
): Promise<Attended> {
  const { patchSize, imgSize, heads, outputs, embedDim } = at.manifest.model;
  const whole = await decode(image);
  const sized = { architecture: { patchSize, imgSize } };
  const target = fittedSize(whole.width, whole.height, sized, side, maxPatches);
  const rows = Math.floor(target.height / patchSize);
  const columns = Math.floor(target.width / patchSize);
  const { width, height } = { width: columns * patchSize, height: rows * patchSize };
  const pixels = cutOut(resized(whole, target, 'bilinear'), { x: 0, y: 0, width, height });
  const names = [
    outputs.attention,
    outputs.patches,
    ...(outputs.attention === null ? [outputs.feature] : []),
  ];
  const start = performance.now();
  const found = await compute(
    at,
    pixels,
    names.filter((name) => name !== null),
  );
  const milliseconds = performance.now() - start;
  const maps = new Float32Array(heads * rows * columns);
  const weights = outputs.attention === null ? null : found[outputs.attention]!; // (heads, 1 + N)
  for (let head = 0; weights !== null && head < heads; head++) {
    const row = head * (1 + rows * columns);
    maps.set(weights.subarray(row + 1, row + 1 + rows * columns), head * rows * columns);
  }
  const raw = outputs.patches === null ? null : found[outputs.patches]!;
  const patches = raw === null ? null : unitRows(raw, embedDim);
  const id = ++answered;
  last = null;
  if (raw !== null && patches !== null) {
    // of a network without attention: which patches are like the image
    const attention =
      heads > 0 ? meanMap(maps, heads) : likeness(unitRows(found[outputs.feature]!, embedDim), patches);
    last = { id, patches: raw, attention, embedDim };
  }
  const original = coveredShares(target, { rows, columns, patchSize });
  const { limit, isSqueezed } = target;
  const size = { width, height, original, rows, columns, heads, limit, isSqueezed };
  return { id, pixels: withAlpha(pixels.rgb), ...size, maps, patches, milliseconds };
}

function colours({ id }: Requests['colours']['input']): PatchColours | null {
  if (last?.id !== id || last.embedDim < COMPONENTS) return null;
  return patchColours(last.patches, last.embedDim, last.attention);
}

async function feature(at: Engine, { image, kind }: Requests['feature']['input']): Promise<Float32Array> {
  const { outputs, embedDim } = at.manifest.model;
  const { resize, crop } = kind.sizes;
  const whole = await decode(image);
  const shape = resizedShape(whole.width, whole.height, resize);
  const pixels = cutOut(resized(whole, shape, 'bicubic'), centerCropWindow(shape, crop));
  const name = kind.features === 'patch-mean' ? outputs.patches : outputs.feature;
  if (name === null) throw new Error('The patches of this model have no features.');
  const found = (await compute(at, pixels, [name]))[name]!;
  // the mean of one row is the row
  return meanMap(found, found.length / embedDim);
}

async function answer(runtime: Runtime, request: Request): Promise<unknown> {
  if (request.name === 'open') return open(runtime, request.input);
  if (engine === null) throw new Error('The model is not loaded yet.');
  switch (request.name) {
    case 'attend':
      return attend(engine, request.input);
    case 'colours':
      return colours(request.input);
    case 'feature':
      return feature(engine, request.input);
  }
}

/** Answers the page's requests one after the other: a session computes one thing at a time. */
export function serve(runtime: Runtime): void {
  let pending: Promise<void> = Promise.resolve();
  self.onmessage = ({ data }: MessageEvent<Request>) => {
    pending = pending.then(async () => {
      try {
        post({ id: data.id, output: await answer(runtime, data) });
      } catch (error) {
        post({ id: data.id, error: error instanceof Error ? error.message : String(error) });
      }
    });
  };
}
