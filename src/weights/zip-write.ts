/**
 * Zip files as PyTorch writes them (caffe2/serialize/inline_container.cc): entries stored as they are, each entry's data
 * aligned by padding in its header, fixed dates, so that the same weights give the same bytes.
 */
import { crc32 } from 'node:zlib';
import { CheckpointError } from '../errors.js';

/** PyTorch's alignment of an entry's data, so that a file can be mapped into memory. */
const ALIGNMENT = 64;
/** Padding is an extra field of this kind: the letters FB. */
const PADDING_FIELD = 0x4246;
/** 1 January 1980, the earliest date of the format. */
const DATE = 0x0021;
const MAX_32 = 0xffffffff;

export class ZipWriter {
  readonly #write: (bytes: Uint8Array) => void;
  readonly #directory: Buffer[] = [];
  #position = 0;

  /** @param write - Takes the file's bytes in order. */
  constructor(write: (bytes: Uint8Array) => void) {
    this.#write = write;
  }

  /** @throws CheckpointError when the file gets larger than 4 GiB, the limit of the format without zip64. */
  add(name: string, data: Uint8Array): void {
    const nameBytes = Buffer.from(name);
    const unpadded = this.#position + 30 + nameBytes.length + 4;
    const padding = (ALIGNMENT - (unpadded % ALIGNMENT)) % ALIGNMENT;
    if (unpadded + padding + data.length > MAX_32)
      throw new CheckpointError(`${name} would end beyond 4 GiB; write a .safetensors file instead`);
    const crc = crc32(data);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0); // version 2.0
    common.writeUInt16LE(0x0800, 2); // names are UTF-8
    common.writeUInt16LE(DATE, 8);
    common.writeUInt32LE(crc, 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(nameBytes.length, 22);
    const header = Buffer.alloc(4);
    header.writeUInt32LE(0x04034b50);
    const local = Buffer.from(common);
    local.writeUInt16LE(4 + padding, 24);
    const extra = Buffer.alloc(4 + padding);
    extra.writeUInt16LE(PADDING_FIELD, 0);
    extra.writeUInt16LE(padding, 2);
    const entry = Buffer.alloc(46 - 6 - 26);
    entry.writeUInt32LE(this.#position, 10);
    this.#directory.push(Buffer.from([0x50, 0x4b, 1, 2, 20, 0]), common, entry, nameBytes);
    this.#emit(Buffer.concat([header, local, nameBytes, extra]));
    this.#emit(data);
  }

  /** Writes the directory; nothing can be added afterwards. */
  end(): void {
    const directory = Buffer.concat(this.#directory);
    const count = this.#directory.length / 4;
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt16LE(count, 8);
    end.writeUInt16LE(count, 10);
    end.writeUInt32LE(directory.length, 12);
    end.writeUInt32LE(this.#position, 16);
    this.#emit(directory);
    this.#emit(end);
  }

  #emit(bytes: Uint8Array): void {
    this.#write(bytes);
    this.#position += bytes.length;
  }
}
