/**
 * A compact list of images: names in front-coded blocks, numbers in typed arrays, all of it in shared memory. An array of
 * objects takes some 200 bytes an image and a copy for each loader thread; this takes 10 to 30 bytes, once, so that 14
 * million images (ImageNet-21k) are a few hundred MiB. (Front coding: Witten, Moffat, Bell, "Managing Gigabytes", chapter
 * 4: a name is stored as the length that it shares with the one before, and the rest.)
 *
 * The list is made of parts: images that are files of their own, or those of one shard.
 */
import { DataError } from '../../errors.js';
import type { ImagePlace, ParquetColumn, ParquetPlace, ShardFile, TarPlace } from '../read/image-place.js';
import type { ImageItem, ImageItems } from './image-items.js';

/** Images that lie in one shard, or files of their own that were listed together. */
export interface ImagePart extends Omit<ShardFile, 'file'> {
  /** The shard, absolute; null when each image is a file, by its name. */
  file: string | null;
  /** How many images it has. */
  count: number;
  /** Only for Parquet files. */
  parquet?: ParquetColumn;
  /** The bytes of images that were given as bytes; `file` is then null. */
  memory?: SharedArrayBuffer;
}

const isShardPart = (part: ImagePart): part is ImagePart & ShardFile => part.file !== null;

/** What another thread opens the list from: its buffers are shared, not copied. */
export interface SharedImages {
  parts: ImagePart[];
  /** The bytes of the names, in segments of at most SEGMENT bytes. */
  names: SharedArrayBuffer[];
  /** Where each block of names begins, counted over all segments: float64. */
  blocks: SharedArrayBuffer;
  /** int32, -1 for none; null when no image has a label. */
  labels: SharedArrayBuffer | null;
  /**
   * Where each image lies within its shard or its part's memory; null when all images are files of their own. float64:
   * first byte of the image, or for Parquet of its page. uint32: bytes of the image, or for Parquet its row in the page.
   */
  offsets: SharedArrayBuffer | null;
  lengths: SharedArrayBuffer | null;
}

/** Names in a block. More would save little memory, and each makes a look-up slower. */
export const BLOCK = 16;
/** Bytes of a segment: Node 20 can't hold more than 4 GiB in one array. No block straddles two segments. */
export const SEGMENT = 2 ** 30;

/** Bytes within the memory of a part, {@link ImagePart.memory}. */
interface MemoryPlace {
  kind: 'memory';
  offset: number;
  length: number;
}

/** Where an image lies within its part. */
export type PlaceInPart = { kind: 'file' } | MemoryPlace | TarPlace | ParquetPlace;

/** The two numbers that a place is kept as. */
function packed(place: PlaceInPart): [offset: number, length: number] {
  if (place.kind === 'file') return [0, 0];
  return place.kind === 'parquet' ? [place.page, place.row] : [place.offset, place.length];
}

export class PackedImages implements ImageItems {
  readonly parts: readonly ImagePart[];
  readonly length: number;
  readonly shared: SharedImages;
  readonly #names: Buffer[];
  readonly #blocks: Float64Array;
  readonly #labels: Int32Array | null;
  readonly #offsets: Float64Array | null;
  readonly #lengths: Uint32Array | null;
  /** First image, and first block of names, of each part. */
  readonly #firstImage: Float64Array;
  readonly #firstBlock: Float64Array;
  // the name that was decoded last: continuing from it makes a walk over the list linear
  #scratch = Buffer.alloc(256);
  #decoded = -1;
  #decodedLength = 0;
  #position = 0;

  constructor(shared: SharedImages) {
    this.shared = shared;
    this.parts = shared.parts;
    this.#names = shared.names.map((segment) => Buffer.from(segment));
    this.#blocks = new Float64Array(shared.blocks);
    this.#labels = shared.labels === null ? null : new Int32Array(shared.labels);
    this.#offsets = shared.offsets === null ? null : new Float64Array(shared.offsets);
    this.#lengths = shared.lengths === null ? null : new Uint32Array(shared.lengths);
    this.#firstImage = new Float64Array(this.parts.length + 1);
    this.#firstBlock = new Float64Array(this.parts.length + 1);
    this.parts.forEach(({ count }, i) => {
      this.#firstImage[i + 1] = this.#firstImage[i]! + count;
      this.#firstBlock[i + 1] = this.#firstBlock[i]! + Math.ceil(count / BLOCK);
    });
    this.length = this.#firstImage[this.parts.length]!;
  }

  /** Packs a list; returns the same list when it is packed already. */
  static from(items: ImageItems): PackedImages {
    if (items instanceof PackedImages) return items;
    const builder = new PackedImagesBuilder();
    builder.beginPart();
    let total = 0;
    for (const { bytes } of items) total += bytes?.length ?? 0;
    const memory = new Uint8Array(new SharedArrayBuffer(total));
    let offset = 0;
    for (const { path, label, bytes } of items) {
      builder.inMemory(bytes === undefined ? null : memory.buffer);
      if (bytes === undefined) {
        builder.add(path, label);
        continue;
      }
      builder.add(path, label, { kind: 'memory', offset, length: bytes.length });
      memory.set(bytes, offset);
      offset += bytes.length;
    }
    return builder.finish();
  }

  /** Joins lists of images in shards, in this order; labels are kept as they are. */
  static concat(lists: readonly PackedImages[]): PackedImages {
    const total = (count: (list: PackedImages) => number) =>
      lists.reduce((sum, list) => sum + count(list), 0);
    const blocks = new Float64Array(new SharedArrayBuffer(8 * total((list) => list.#blocks.length)));
    const images = total((list) => list.length);
    const offsets = new Float64Array(new SharedArrayBuffer(8 * images));
    const lengths = new Uint32Array(new SharedArrayBuffer(4 * images));
    const isLabelled = lists.some((list) => list.#labels !== null);
    const labels = isLabelled ? new Int32Array(new SharedArrayBuffer(4 * images)).fill(-1) : null;
    // the names of each list go into one segment: the current one while it has room
    const sizes = [0];
    const starts = lists.map((list) => {
      const bytes = list.#names.reduce((sum, segment) => sum + segment.length, 0);
      if (list.#names.length > 1) throw new RangeError('internal: more than 1 GiB of names in one list');
      if (sizes.at(-1)! + bytes > SEGMENT) sizes.push(0);
      const start = (sizes.length - 1) * SEGMENT + sizes.at(-1)!;
      sizes[sizes.length - 1]! += bytes;
      return start;
    });
    const names = sizes.map((size) => Buffer.from(new SharedArrayBuffer(size)));
    let [image, block] = [0, 0];
    lists.forEach((list, i) => {
      const start = starts[i]!;
      list.#names[0]!.copy(names[Math.floor(start / SEGMENT)]!, start % SEGMENT);
      for (const own of list.#blocks) blocks[block++] = start + own;
      if (list.#offsets !== null) offsets.set(list.#offsets, image);
      if (list.#lengths !== null) lengths.set(list.#lengths, image);
      if (list.#labels !== null) labels!.set(list.#labels, image);
      image += list.length;
    });
    return new PackedImages({
      parts: lists.flatMap((list) => list.parts),
      names: names.map((segment) => segment.buffer),
      blocks: blocks.buffer,
      labels: labels?.buffer ?? null,
      offsets: offsets.buffer,
      lengths: lengths.buffer,
    });
  }

  /** A copy of one part, as a list of its own. */
  copyOfPart(number: number): PackedImages {
    const part = this.parts[number]!;
    const [image, block] = [this.#firstImage[number]!, this.#firstBlock[number]!];
    const lastBlock = this.#firstBlock[number + 1]!;
    const first = lastBlock > block ? this.#blocks[block]! : 0;
    const segment = this.#names[Math.floor(first / SEGMENT)]!;
    // the names of the next part begin where these end, or in the next segment
    const next = this.#blocks[lastBlock];
    const isSame = next !== undefined && Math.floor(next / SEGMENT) === Math.floor(first / SEGMENT);
    const end = isSame ? next % SEGMENT : segment.length;
    const names = Buffer.from(new SharedArrayBuffer(lastBlock > block ? end - (first % SEGMENT) : 0));
    segment.copy(names, 0, first % SEGMENT, end);
    const blocks = new Float64Array(new SharedArrayBuffer(8 * (lastBlock - block)));
    blocks.set(this.#blocks.subarray(block, lastBlock).map((start) => start - first));
    const cut = (view: Numbers | null): SharedArrayBuffer | null => {
      if (view === null) return null;
      const own = new SharedArrayBuffer(part.count * view.BYTES_PER_ELEMENT);
      const bytes = new Uint8Array(view.buffer, image * view.BYTES_PER_ELEMENT, own.byteLength);
      new Uint8Array(own).set(bytes);
      return own;
    };
    return new PackedImages({
      parts: [part],
      names: [names.buffer],
      blocks: blocks.buffer,
      labels: cut(this.#labels),
      offsets: cut(this.#offsets),
      lengths: cut(this.#lengths),
    });
  }

  /** A list of some of the images, none of which lie in memory. */
  filter(keep: (index: number) => boolean): PackedImages {
    const builder = new PackedImagesBuilder();
    this.parts.forEach(({ file, count, size, mtimeMs, parquet }, number) => {
      builder.beginPart(file, size, mtimeMs, parquet);
      const first = this.#firstImage[number]!;
      for (let i = first; i < first + count; i++) {
        if (!keep(i)) continue;
        const place = this.place(i);
        if (place.kind === 'memory')
          throw new RangeError('internal: bytes in memory in a list that is filtered');
        builder.add(this.name(i), this.label(i), place);
      }
    });
    return builder.finish();
  }

  /** The same images with other labels: -1 for none. */
  withLabels(labels: Int32Array<SharedArrayBuffer> | null): PackedImages {
    return new PackedImages({ ...this.shared, labels: labels?.buffer ?? null });
  }

  /** Number of the part that holds an image. */
  partOf(index: number): number {
    let [low, high] = [0, this.parts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#firstImage[middle]! <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** First image of a part. */
  firstOf(part: number): number {
    return this.#firstImage[part]!;
  }

  #varint(segment: Buffer): number {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = segment[this.#position++];
      if (byte === undefined) throw damaged();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  }

  /** An image's name: its path, or in a shard the name that it has there. */
  name(index: number): string {
    if (!(index >= 0 && index < this.length))
      throw new RangeError(`internal: image ${index} of ${this.length}`);
    const part = this.partOf(index);
    const local = index - this.#firstImage[part]!;
    const start = this.#blocks[this.#firstBlock[part]! + Math.floor(local / BLOCK)]!;
    const segment = this.#names[Math.floor(start / SEGMENT)] ?? Buffer.alloc(0);
    let steps = local % BLOCK;
    if (steps !== 0 && this.#decoded >= index - steps && this.#decoded <= index) {
      steps = index - this.#decoded;
    } else {
      this.#position = start % SEGMENT;
      steps++;
    }
    for (; steps > 0; steps--) {
      const common = this.#varint(segment);
      const rest = this.#varint(segment);
      if (common > this.#scratch.length || this.#position + rest > segment.length) throw damaged();
      if (common + rest > this.#scratch.length) {
        const larger = Buffer.alloc(2 * (common + rest));
        this.#scratch.copy(larger, 0, 0, common);
        this.#scratch = larger;
      }
      segment.copy(this.#scratch, common, this.#position, this.#position + rest);
      this.#position += rest;
      this.#decodedLength = common + rest;
    }
    this.#decoded = index;
    return this.#scratch.toString('utf8', 0, this.#decodedLength);
  }

  /** The path that an image can be read by: that of its file, or `shard.tar::name`. */
  path(index: number): string {
    const { file } = this.parts[this.partOf(index)]!;
    return file === null ? this.name(index) : `${file}::${this.name(index)}`;
  }

  /** Index of its class; null when it has none. */
  label(index: number): number | null {
    const label = this.#labels?.[index] ?? -1;
    return label < 0 ? null : label;
  }

  /** Where an image lies. Bytes in memory are a view, not a copy. */
  place(index: number): ImagePlace {
    const part = this.parts[this.partOf(index)]!;
    const [offset, length] = [this.#offsets?.[index] ?? 0, this.#lengths?.[index] ?? 0];
    if (part.memory !== undefined)
      return { kind: 'memory', bytes: new Uint8Array(part.memory, offset, length) };
    if (!isShardPart(part)) return { kind: 'file' };
    return part.parquet === undefined
      ? { kind: 'tar', shard: part, offset, length }
      : { kind: 'parquet', shard: part, column: part.parquet, page: offset, row: length };
  }

  at(index: number): ImageItem | undefined {
    if (index < 0) index += this.length;
    return index >= 0 && index < this.length
      ? { path: this.path(index), label: this.label(index) }
      : undefined;
  }

  map<T>(compute: (item: ImageItem, index: number) => T): T[] {
    return Array.from(this, compute);
  }

  *[Symbol.iterator](): Generator<ImageItem, void> {
    for (let i = 0; i < this.length; i++) yield this.at(i)!;
  }
}

/** Only a list that was read from an index file can be damaged. */
const damaged = () =>
  new DataError(
    'The index of the shards is damaged: delete dino-index-*.bin beside them, and it is rebuilt.',
  );

type Numbers = Float64Array | Uint32Array | Int32Array;

/** A growing column of numbers in shared memory. */
class SharedColumn<T extends Numbers> {
  #view: T;
  length = 0;

  constructor(
    private readonly make: (buffer: SharedArrayBuffer) => T,
    private readonly bytes: number,
  ) {
    this.#view = make(new SharedArrayBuffer(16 * bytes));
  }

  push(value: number): void {
    if (this.length === this.#view.length) this.#resize(2 * this.length);
    this.#view[this.length++] = value;
  }

  #resize(length: number): void {
    const view = this.make(new SharedArrayBuffer(length * this.bytes));
    view.set(this.#view.subarray(0, Math.min(length, this.length)));
    this.#view = view;
  }

  finish(): SharedArrayBuffer {
    this.#resize(this.length);
    return this.#view.buffer as SharedArrayBuffer;
  }
}

/** Makes a list, image by image. */
export class PackedImagesBuilder {
  readonly #parts: ImagePart[] = [];
  readonly #segments: Buffer[] = [];
  #segment = Buffer.from(new SharedArrayBuffer(4096));
  #used = 0;
  readonly #blocks = new SharedColumn((buffer) => new Float64Array(buffer), 8);
  readonly #labels = new SharedColumn((buffer) => new Int32Array(buffer), 4);
  readonly #offsets = new SharedColumn((buffer) => new Float64Array(buffer), 8);
  readonly #lengths = new SharedColumn((buffer) => new Uint32Array(buffer), 4);
  #isLabelled = false;
  #inShards = false;
  #last = Buffer.alloc(256);
  #lastLength = 0;
  #next = Buffer.alloc(256);

  /** The images that are added from now on lie in this shard; without one, each is a file of its own. */
  beginPart(file: string | null = null, size = 0, mtimeMs = 0, parquet?: ParquetColumn): void {
    if (file !== null) this.#inShards = true;
    this.#parts.push({ file, count: 0, size, mtimeMs, ...(parquet === undefined ? {} : { parquet }) });
  }

  /** The images that are added from now on lie in this memory, or are files of their own when it is null. */
  inMemory(memory: SharedArrayBuffer | null): void {
    if ((this.#parts.at(-1)!.memory ?? null) === memory) return;
    this.beginPart();
    if (memory === null) return;
    if (!this.#inShards) {
      this.#inShards = true;
      const before = this.#parts.reduce((sum, { count }) => sum + count, 0);
      for (let i = 0; i < before; i++) {
        this.#offsets.push(0);
        this.#lengths.push(0);
      }
    }
    this.#parts.at(-1)!.memory = memory;
  }

  /** Makes room for bytes in the segment, or begins the next one. */
  #reserve(bytes: number, isBlockStart: boolean): void {
    // a block must not be split: none is begun near the end of a segment
    if (isBlockStart && this.#used + BLOCK * 65536 > SEGMENT) {
      this.#segments.push(this.#segment);
      this.#segment = Buffer.from(new SharedArrayBuffer(4096));
      this.#used = 0;
    }
    if (this.#used + bytes <= this.#segment.length) return;
    const length = Math.min(SEGMENT, Math.max(2 * this.#segment.length, this.#used + bytes));
    const larger = Buffer.from(new SharedArrayBuffer(length));
    this.#segment.copy(larger, 0, 0, this.#used);
    this.#segment = larger;
  }

  #varint(value: number): void {
    while (value >= 128) {
      this.#segment[this.#used++] = (value % 128) + 128;
      value = Math.floor(value / 128);
    }
    this.#segment[this.#used++] = value;
  }

  /** @param name - A path, or in a shard the name there; at most 65,000 bytes. */
  add(name: string, label: number | null, place: PlaceInPart = { kind: 'file' }): void {
    const part = this.#parts.at(-1)!;
    const bytes = Buffer.byteLength(name);
    if (bytes > 65000) throw new RangeError(`internal: a name of ${bytes} bytes`);
    if (bytes > this.#next.length) this.#next = Buffer.alloc(2 * bytes);
    const next = this.#next;
    next.write(name);
    const isBlockStart = part.count % BLOCK === 0;
    this.#reserve(bytes + 8, isBlockStart);
    let common = 0;
    if (isBlockStart) {
      this.#blocks.push(this.#segments.length * SEGMENT + this.#used);
    } else {
      const most = Math.min(bytes, this.#lastLength);
      while (common < most && next[common] === this.#last[common]) common++;
    }
    this.#varint(common);
    this.#varint(bytes - common);
    next.copy(this.#segment, this.#used, common, bytes);
    this.#used += bytes - common;
    this.#next = this.#last;
    this.#last = next;
    this.#lastLength = bytes;
    part.count++;
    this.#labels.push(label ?? -1);
    if (label !== null) this.#isLabelled = true;
    if (this.#inShards) {
      const [offset, length] = packed(place);
      this.#offsets.push(offset);
      this.#lengths.push(length);
    }
  }

  /** @param labels - Replace those that were added; -1 for none. */
  finish(labels?: Int32Array | null): PackedImages {
    const given = labels ? new Int32Array(new SharedArrayBuffer(4 * labels.length)) : null;
    given?.set(labels!);
    const last = Buffer.from(new SharedArrayBuffer(this.#used));
    this.#segment.copy(last, 0, 0, this.#used);
    const names = [...this.#segments, last].map((segment) => segment.buffer as unknown as SharedArrayBuffer);
    return new PackedImages({
      parts: this.#parts,
      names,
      blocks: this.#blocks.finish(),
      labels: given?.buffer ?? (this.#isLabelled ? this.#labels.finish() : null),
      offsets: this.#inShards ? this.#offsets.finish() : null,
      lengths: this.#inShards ? this.#lengths.finish() : null,
    });
  }
}
