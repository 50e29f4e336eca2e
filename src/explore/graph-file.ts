/**
 * The structure of a graph's file, checked before USearch opens it: USearch follows its file without checks. A file that
 * passes cannot make it read outside the file. As USearch 2.25 writes it, little-endian:
 *
 *   rows, columns   uint32 each: nodes, bytes of a vector
 *   vectors         rows * columns; any values are fine: they are only compared, never used as addresses
 *   head            64 bytes: "usearch", version uint16 x 3, kinds of metric, scalar, key and slot, a byte each, then
 *                   present, deleted, dimensions uint64, multi bool; the rest is not read
 *   graph head      size, connectivity, connectivity of the base level, highest level, entry slot, uint64 each
 *   levels          int16 a node
 *   nodes           key uint64, level int16, then for each level from 0 to its own a uint32 count of links and room for
 *                   as many slots (uint32) as the level has; behind the count they are not read
 *
 * Searching, adding and removing (index.hpp, index_dense.hpp) follow links from the entry slot down: at a level, to the
 * links that a node has there, whose nodes must have that level too. Keys go to a hash table that is found by the key's own
 * low bits, and its size decides the room for the vectors' addresses.
 */
import { CheckpointError, DataError } from '../errors.js';
import { FileBytes } from '../files/file-bytes.js';

/** Links of a node above the base level, and on it. */
export const CONNECTIVITY = 16;
const CONNECTIVITY_BASE = 2 * CONNECTIVITY;
const HEAD = 64;
const GRAPH_HEAD = 40;
const NODE_HEAD = 10;
const BASE_BYTES = 4 + 4 * CONNECTIVITY_BASE;
const LEVEL_BYTES = 4 + 4 * CONNECTIVITY;
/** The key of a removed vector, in halves. */
const FREE = 0xffffffff;
/** Ids, and so the keys, are below this. */
export const MAX_IDS = 2 ** 31;
/** Bytes that are read at a time. */
const PIECE = 2 ** 22;
/** Of the enumerations in index_plugins.hpp: inner product; bfloat16, uint64, uint32. */
const KINDS = ['i'.charCodeAt(0), 4, 14, 15];
/** The most steps on average from a key to its slot in the hash table; consecutive ids take none. */
const MOST_STEPS = 64;

/** Places of USearch's table for so many keys: a power of two, at most two thirds full, at least 64. */
function tableSize(keys: number): number {
  let size = 64;
  while (2 * size < 3 * keys) size *= 2;
  return size;
}

const powerOfTwo = (value: number): number => 2 ** Math.ceil(Math.log2(value));

/** How many addresses USearch allocates when it opens a graph of this many vectors. */
const roomFor = (present: number): number => Math.floor((2 * tableSize(powerOfTwo(present))) / 3);

/** Whether a graph may have this many nodes, removed ones included: with more, USearch writes past the end of its table. */
export const fitsRoom = (nodes: number, present: number): boolean => nodes <= roomFor(present);

/**
 * Whether keys find their slots in USearch's table without long probing: it is searched from the slot that a key's low bits
 * name to the next free one, and a million keys can be chosen so that each passes all the others.
 */
export function areSpread(ids: Int32Array): boolean {
  const size = tableSize(ids.length);
  const wanted = new Uint32Array(size);
  for (const id of ids) wanted[id & (size - 1)]!++;
  let waiting = 0;
  let steps = 0;
  // twice around: a key that finds no slot before the end continues at the beginning
  for (let round = 0; round < 2; round++)
    for (let place = 0; place < size; place++) {
      const here = wanted[place]! + waiting;
      waiting = Math.max(0, here - 1);
      steps += waiting;
      wanted[place] = Math.min(1, here);
    }
  return steps <= MOST_STEPS * ids.length;
}

/** Reads numbers of a file, piece by piece. */
class Numbers {
  #view = new DataView(new ArrayBuffer(0));
  #start = 0;

  constructor(readonly bytes: FileBytes) {}

  /** Makes sure that bytes [at, at + length) are in view. @returns Where they begin there. */
  #need(at: number, length: number): number {
    if (at < this.#start || at + length > this.#start + this.#view.byteLength) {
      this.#view = new DataView(this.bytes.read(at, Math.min(PIECE, this.bytes.size - at)).buffer);
      this.#start = at;
    }
    return at - this.#start;
  }

  u8(at: number): number {
    const place = this.#need(at, 1);
    return this.#view.getUint8(place);
  }
  u16(at: number): number {
    const place = this.#need(at, 2);
    return this.#view.getUint16(place, true);
  }
  i16(at: number): number {
    const place = this.#need(at, 2);
    return this.#view.getInt16(place, true);
  }
  u32(at: number): number {
    const place = this.#need(at, 4);
    return this.#view.getUint32(place, true);
  }
  /** Infinity above 2^53: no count is that large. */
  u64(at: number): number {
    const place = this.#need(at, 8);
    const value = this.#view.getBigUint64(place, true);
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? Infinity : Number(value);
  }
}

/** A graph's file while it is checked. */
class GraphFile {
  readonly #numbers: Numbers;
  readonly #size: number;
  readonly #place: string;

  constructor(
    readonly bytes: FileBytes,
    readonly width: number,
    readonly ids: Int32Array,
  ) {
    this.#numbers = new Numbers(bytes);
    this.#size = bytes.size;
    this.#place = bytes.file;
  }

  #wrong(what: string): DataError {
    return new DataError(`${this.#place} is damaged: ${what}`);
  }

  #expect(what: string, found: number, wanted: number): void {
    if (found !== wanted) throw this.#wrong(`${what} is ${found}, expected ${wanted}`);
  }

  check(): number {
    if (this.#size < 8) throw this.#wrong(`it has ${this.#size} bytes`);
    const nodes = this.#numbers.u32(0);
    this.#expect('bytes of a vector', this.#numbers.u32(4), 2 * this.width);
    const head = 8 + nodes * 2 * this.width;
    const graph = head + HEAD;
    const levels = graph + GRAPH_HEAD;
    const first = levels + 2 * nodes;
    if (first + nodes * (NODE_HEAD + BASE_BYTES) > this.#size)
      throw this.#wrong(`${nodes} nodes are too many for ${this.#size} bytes`);
    this.#checkHead(head, nodes);
    this.#checkNodes(first, this.#levels(graph, levels, first, nodes));
    if (!areSpread(this.ids))
      throw this.#wrong('the ids of the images are so far apart that opening it would take forever');
    return nodes;
  }

  #checkHead(head: number, nodes: number): void {
    const { ids, width } = this;
    const numbers = this.#numbers;
    if (nodes < ids.length) throw this.#wrong(`it has ${nodes} vectors, expected ${ids.length}`);
    if (!fitsRoom(nodes, ids.length))
      throw this.#wrong(`of its ${nodes} vectors only ${ids.length} are images: too many were removed`);
    if (this.bytes.read(head, 7).toString('latin1') !== 'usearch') throw this.#wrong('its head is missing');
    this.#expect('its version', numbers.u16(head + 7), 2);
    const minor = numbers.u16(head + 9);
    if (minor < 10) throw this.#wrong(`its version is 2.${minor}`); // where the kinds had different numbers
    KINDS.forEach((kind, i) => this.#expect(`kind ${i}`, numbers.u8(head + 13 + i), kind));
    this.#expect('vectors', numbers.u64(head + 17), ids.length);
    this.#expect('removed vectors', numbers.u64(head + 25), nodes - ids.length);
    this.#expect('width', numbers.u64(head + 33), width);
    this.#expect('several vectors a key', numbers.u8(head + 41), 0);
  }

  /**
   * Checks the graph's head, and that the nodes have the lengths that their levels imply. @returns The level of each node.
   */
  #levels(graph: number, levels: number, first: number, nodes: number): Int16Array {
    const numbers = this.#numbers;
    this.#expect('nodes', numbers.u64(graph), nodes);
    this.#expect('links', numbers.u64(graph + 8), CONNECTIVITY);
    this.#expect('links of the base level', numbers.u64(graph + 16), CONNECTIVITY_BASE);
    const highest = numbers.u64(graph + 24);
    const entry = numbers.u64(graph + 32);
    if (entry >= nodes) throw this.#wrong(`its entry is ${entry} of ${nodes} nodes`);
    const levelOf = new Int16Array(nodes);
    let end = first;
    for (let node = 0; node < nodes; node++) {
      const level = numbers.i16(levels + 2 * node);
      if (level < 0 || level > highest) throw this.#wrong(`node ${node} has level ${level} of ${highest}`);
      levelOf[node] = level;
      end += NODE_HEAD + BASE_BYTES + level * LEVEL_BYTES;
    }
    this.#expect('its size', this.#size, end);
    this.#expect('the level of its entry', levelOf[entry]!, highest);
    return levelOf;
  }

  /** Checks keys and links. @param at - Where the first node begins. */
  #checkNodes(at: number, levelOf: Int16Array): void {
    const { ids } = this;
    const numbers = this.#numbers;
    const keys = new Int32Array(ids.length);
    let present = 0;
    for (let node = 0; node < levelOf.length; node++) {
      const [low, high] = [numbers.u32(at), numbers.u32(at + 4)];
      if (low !== FREE || high !== FREE) {
        if (high !== 0 || low >= MAX_IDS) throw this.#wrong(`node ${node} has no valid key`);
        if (present === keys.length) throw this.#wrong(`it has more than ${present} vectors`);
        keys[present++] = low;
      }
      const own = levelOf[node]!;
      if (numbers.i16(at + 8) !== own) throw this.#wrong(`node ${node} has two levels`);
      at += NODE_HEAD;
      for (let level = 0; level <= own; level++) at = this.#checkLinks(at, node, level, levelOf);
    }
    keys.sort();
    if (present !== ids.length || keys.some((key, i) => key !== ids[i]))
      throw this.#wrong('its keys are not the ids of the images');
  }

  /** @returns Where the next links begin. */
  #checkLinks(at: number, node: number, level: number, levelOf: Int16Array): number {
    const numbers = this.#numbers;
    const most = level === 0 ? CONNECTIVITY_BASE : CONNECTIVITY;
    const links = numbers.u32(at);
    if (links > most)
      throw this.#wrong(
        `node ${node} has ${links} links at level ${level}, where at most ${most} are possible`,
      );
    for (let link = 1; link <= links; link++) {
      const slot = numbers.u32(at + 4 * link);
      if (slot >= levelOf.length || levelOf[slot]! < level)
        throw this.#wrong(`node ${node} is linked to ${slot} at level ${level}, which does not exist`);
    }
    return at + 4 + 4 * most;
  }
}

/**
 * Checks a graph's file from front to end.
 *
 * @param about - `within`: the index folder; `ids`: of its images, which the graph must hold each once; ascending.
 * @returns How many nodes it has, removed ones included.
 * @throws DataError that says what is wrong, without advice.
 */
export function checkGraphFile(
  place: string,
  about: { within: string; width: number; ids: Int32Array },
): number {
  try {
    using bytes = new FileBytes(place, about.within);
    return new GraphFile(bytes, about.width, about.ids).check();
  } catch (error) {
    // it became shorter, or can't be opened
    if (error instanceof CheckpointError) throw new DataError(error.message, { cause: error });
    throw error;
  }
}
