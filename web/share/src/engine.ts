/** Starts the worker that runs the model, and asks it. */
import webgpuWasm from 'onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url';
import plainWasm from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url';
import type { WebManifest } from '../../../src/plain/web-manifest.ts';
import { download } from './load.ts';
import type { Opened, Reply, RequestName, Requests } from './protocol.ts';

/** How long a browser without a device may leave the request unanswered. */
const ADAPTER_MS = 3000;
/** How long to wait for a device, which may never arrive. */
const WEBGPU_MS = 60_000;

async function hasWebGpu(): Promise<boolean> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<unknown> } };
  if (gpu === undefined) return false;
  const silence = new Promise<null>((resolve) => setTimeout(() => resolve(null), ADAPTER_MS));
  return Promise.race([gpu.requestAdapter(), silence]).then(
    (adapter) => adapter !== null,
    () => false,
  );
}

/** The worker that runs the model. */
export class Engine {
  readonly #worker: Worker;
  readonly #waiting = new Map<
    number,
    { resolve: (output: unknown) => void; reject: (error: Error) => void }
  >();
  #nextId = 0;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      const asked = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if ('error' in data) asked?.reject(new Error(data.error));
      else asked?.resolve(data.output);
    };
    worker.onerror = (event) => {
      const error = new Error(event.message || 'The part of the page that runs the model has failed.');
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
  }

  ask<K extends RequestName>(name: K, input: Requests[K]['input']): Promise<Requests[K]['output']> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (output: unknown) => void, reject });
      this.#worker.postMessage({ id, name, input });
    });
  }

  end(): void {
    this.#worker.terminate();
  }
}

interface Started {
  engine: Engine;
  opened: Opened;
}

/**
 * Starts the model: on WebGPU where that works, otherwise in WebAssembly. Everything is downloaded here; the workers fetch
 * nothing.
 * @param loaded - Called with how many bytes of the model have arrived.
 */
export async function startEngine(
  manifest: WebManifest,
  backend: 'auto' | 'wasm',
  loaded: (bytes: number) => void,
): Promise<Started> {
  const model = await download(manifest.model.file, loaded);
  const start = async (worker: Worker, address: string): Promise<Started> => {
    const engine = new Engine(worker);
    try {
      const wasm = (await download(address)).buffer;
      return { engine, opened: await engine.ask('open', { manifest, model, wasm }) };
    } catch (error) {
      engine.end();
      throw error;
    }
  };
  if (backend === 'auto' && (await hasWebGpu())) {
    const worker = new Worker(new URL('./webgpu.worker.ts', import.meta.url), { type: 'module' });
    try {
      const silence = new Promise<null>((resolve) => setTimeout(() => resolve(null), WEBGPU_MS));
      const started = await Promise.race([start(worker, webgpuWasm), silence]);
      if (started !== null) return started;
      throw new Error('it does not answer');
    } catch (error) {
      worker.terminate();
      console.warn(`WebGPU can’t run the model, WebAssembly does: ${String(error)}`);
    }
  }
  return start(new Worker(new URL('./wasm.worker.ts', import.meta.url), { type: 'module' }), plainWasm);
}
