/**
 * Approximate search over vectors of length 1: USearch's HNSW graph (Malkov and Yashunin 2018, arXiv 1603.09320). The
 * graph holds bfloat16 copies; its results are ranked again by the exact similarities of the float32 rows.
 *
 * USearch reads its file in C++ without checking it: graph-file.ts checks it first.
 */
import { setImmediate as eventLoopTurn } from 'node:timers/promises';
import { createRequire } from 'node:module';
import type * as Usearch from 'usearch';
import { DataError } from '../errors.js';
import { checkGraphFile, CONNECTIVITY } from './graph-file.js';

/**
 * USearch, loaded when it is needed. Its CommonJS build: the other one looks for its addon from the global `__dirname`,
 * which is the program's in `node -e`, in a program from standard input, and in an evaluated worker.
 */
const loadUsearch = (): typeof Usearch => createRequire(import.meta.url)('usearch') as typeof Usearch;

/**
 * Candidates kept while a vector is added, and while one is searched: like the 16 links per node, usual choices of
 * USearch and hnswlib. docs/explore.md has the measurements.
 */
const EXPANSION_ADD = 128;
const EXPANSION_SEARCH = 128;

/**
 * Up to this many nodes are added one by one: threads that link the first ones at the same time don't find each other's.
 */
const SEQUENTIAL = 1024;
/** Rows that are added or searched at a time, before the thread's other work gets its turn. */
const BLOCK = 4096;

export interface VectorMatches {
  /** (Q, k): ids, nearest first; -1 where fewer were found. */
  ids: Int32Array;
  k: number;
}

/** The vectors' graph. Ids are whole numbers below 2^31. */
export class VectorIndex {
  readonly #index: Usearch.Index;
  #nodes = 0;

  constructor(readonly width: number) {
    const { Index, MetricKind, ScalarKind } = loadUsearch();
    this.#index = new Index({
      metric: MetricKind.IP,
      dimensions: width,
      quantization: ScalarKind.BF16,
      connectivity: CONNECTIVITY,
      expansion_add: EXPANSION_ADD,
      expansion_search: EXPANSION_SEARCH,
      multi: false,
    });
  }

  /**
   * Opens a file that save() wrote.
   * @param about - `within`: the index folder; `ids`: those that it must hold, ascending; `writable`: reads it into memory
   *   so that it can be changed; otherwise the file is mapped.
   * @throws DataError when its width or ids differ, or it is damaged in any way.
   */
  static open(
    file: string,
    about: { within: string; width: number; ids: Int32Array; writable: boolean },
  ): VectorIndex {
    const nodes = checkGraphFile(file, about);
    const vectors = new VectorIndex(about.width);
    try {
      if (about.writable) vectors.#index.load(file);
      else vectors.#index.view(file);
    } catch (error) {
      throw new DataError(`${file} can't be opened: ${(error as Error).message}`, { cause: error });
    }
    vectors.#nodes = nodes;
    return vectors;
  }

  /** Nodes of the graph, including removed ones that have not been replaced since it was opened. */
  get nodes(): number {
    return Math.max(this.#nodes, this.size);
  }

  get size(): number {
    return Number(this.#index.size());
  }

  /** @param rows - (ids.length, width), of length 1. */
  async add(
    ids: Int32Array,
    rows: Float32Array,
    onProgress?: (done: number) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    for (let start = 0, end; start < ids.length; start = end) {
      signal?.throwIfAborted();
      end = Math.min(start + (this.size < SEQUENTIAL ? 1 : BLOCK), ids.length);
      const keys = BigUint64Array.from(ids.subarray(start, end), BigInt);
      this.#index.add(keys, rows.subarray(start * this.width, end * this.width));
      onProgress?.(end);
      await eventLoopTurn();
    }
  }

  remove(ids: Int32Array): void {
    if (ids.length > 0) this.#index.remove(BigUint64Array.from(ids, BigInt));
  }

  /** The ids of the k nearest, approximately. @param query - (width) of length 1. */
  search(query: Float32Array, k: number): number[] {
    return Array.from(this.#index.search(query, Math.min(k, this.size), 1).keys, Number);
  }

  /** The same for many. @param queries - (Q, width). */
  async searchMany(
    queries: Float32Array,
    k: number,
    onProgress?: (done: number) => void,
    signal?: AbortSignal,
  ): Promise<VectorMatches> {
    const count = queries.length / this.width;
    const ids = new Int32Array(count * k).fill(-1);
    const asked = Math.min(k, this.size);
    for (let start = 0; start < count; start += BLOCK) {
      signal?.throwIfAborted();
      const end = Math.min(start + BLOCK, count);
      const found = this.#index.search(queries.subarray(start * this.width, end * this.width), asked, 0);
      // USearch returns a different type for one query than for several
      const counts = 'counts' in found ? (found.counts as BigUint64Array) : null;
      for (let i = 0; i < end - start; i++) {
        const got = counts === null ? found.keys.length : Number(counts[i]);
        for (let j = 0; j < got; j++) ids[(start + i) * k + j] = Number(found.keys[i * asked + j]);
      }
      onProgress?.(end);
      await eventLoopTurn();
    }
    return { ids, k };
  }

  save(file: string): void {
    this.#index.save(file);
  }
}
