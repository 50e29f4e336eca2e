/**
 * The part of the zip format (PKWARE's APPNOTE.TXT, sections 4.3 to 4.5) that PyTorch writes: entries stored as they
 * are, zip64 where a file is large. Read here rather than by a package so that nothing is trusted: every offset is
 * checked against the file before it is used, entries may not overlap (which is how a small zip expands to a
 * huge one), compressed ones are refused, and so are names that lead out of a folder, though nothing is ever unpacked.
 */
import { crc32 } from 'node:zlib';
import { CheckpointError } from '../errors.js';
import type { FileBytes } from '../files/file-bytes.js';
import { show } from './pickle-values.js';

const END_SIGNATURE = 0x06054b50;
const END_BYTES = 22;
const END64_LOCATOR_SIGNATURE = 0x07064b50;
const END64_LOCATOR_BYTES = 20;
const END64_SIGNATURE = 0x06064b50;
const END64_BYTES = 56;
const ENTRY_SIGNATURE = 0x02014b50;
const ENTRY_BYTES = 46;
const LOCAL_SIGNATURE = 0x04034b50;
const LOCAL_BYTES = 30;
const ZIP64_EXTRA = 1;
/** Longest comment that may follow the end record. */
const MAX_COMMENT = 65_535;
/** An entry takes about 100 bytes here; a checkpoint of the largest model has a few thousand. */
const MAX_DIRECTORY_BYTES = 64 * 2 ** 20;

export interface ZipEntry {
  name: string;
  /** Bytes of its data. */
  size: number;
  /** Where its local header is. */
  start: number;
  /** Where the next thing in the file begins: its data must end before. */
  limit: number;
  crc: number;
  /** 0 for stored. */
  method: number;
  isEncrypted: boolean;
}

/** The entries of a zip file, and their data on demand. */
export class ZipArchive {
  readonly entries: ReadonlyMap<string, ZipEntry>;
  readonly #source: FileBytes;

  /** @throws CheckpointError when it is not a complete zip file, or its directory is invalid. */
  constructor(source: FileBytes) {
    this.#source = source;
    this.entries = readDirectory(source);
  }

  /**
   * An entry's data.
   * @throws CheckpointError when it is compressed, damaged or missing.
   */
  read(name: string): Buffer<ArrayBuffer> {
    const { file } = this.#source;
    const entry = this.entries.get(name);
    if (entry === undefined) throw new CheckpointError(`${file} has no entry ${show(name)}`);
    const refuse = (what: string): never => {
      throw new CheckpointError(`${file}: the zip entry ${show(name)} ${what}`);
    };
    if (entry.isEncrypted) refuse('is encrypted');
    if (entry.method !== 0) {
      refuse(
        `is compressed (method ${entry.method}); PyTorch stores entries as they are: load the file and save it again`,
      );
    }
    const header = this.#source.read(entry.start, LOCAL_BYTES);
    if (header.readUInt32LE(0) !== LOCAL_SIGNATURE) refuse(`has no header at ${entry.start}`);
    const nameBytes = header.readUInt16LE(26);
    const begin = entry.start + LOCAL_BYTES + nameBytes + header.readUInt16LE(28);
    if (begin + entry.size > entry.limit) refuse('reaches into what comes after it');
    const localName = this.#source.read(entry.start + LOCAL_BYTES, nameBytes).toString('utf8');
    if (localName !== name) refuse(`calls itself ${show(localName)}`);
    if (header.readUInt16LE(8) !== entry.method) refuse('is compressed by its own header');
    const data = this.#source.read(begin, entry.size);
    if (crc32(data) !== entry.crc) refuse('is damaged: its checksum is not that of its data');
    return data;
  }
}

/** Whether a file begins like a zip. */
export function isZip(start: Uint8Array): boolean {
  return start.length >= 4 && Buffer.from(start).readUInt32LE(0) === LOCAL_SIGNATURE;
}

function readDirectory(source: FileBytes): Map<string, ZipEntry> {
  const { file, size: fileSize } = source;
  const refuse = (what: string): never => {
    throw new CheckpointError(`${file} is not a valid zip file: ${what}`);
  };
  const { position, bytes, count } = findDirectory(source, refuse);
  if (bytes > MAX_DIRECTORY_BYTES)
    refuse(`its directory has ${bytes} bytes, more than ${MAX_DIRECTORY_BYTES}`);
  if (count * ENTRY_BYTES > bytes) refuse(`its directory of ${bytes} bytes can't hold ${count} entries`);
  const directory = source.read(position, bytes);
  const list: ZipEntry[] = [];
  const names = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + ENTRY_BYTES > bytes || directory.readUInt32LE(at) !== ENTRY_SIGNATURE)
      refuse(`entry ${i} of its directory is missing`);
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((offset) =>
      directory.readUInt16LE(at + offset),
    );
    const end = at + ENTRY_BYTES + nameBytes! + extraBytes! + commentBytes!;
    if (end > bytes) refuse(`entry ${i} is longer than its directory`);
    const nameEnd = at + ENTRY_BYTES + nameBytes!;
    const name = directory.toString('utf8', at + ENTRY_BYTES, nameEnd);
    checkName(name, refuse);
    if (names.has(name)) refuse(`two entries are called ${show(name)}`);
    const fields = {
      size: directory.readUInt32LE(at + 24),
      stored: directory.readUInt32LE(at + 20),
      start: directory.readUInt32LE(at + 42),
    };
    const extra = directory.subarray(nameEnd, nameEnd + extraBytes!);
    readZip64Extra(extra, fields, () => refuse(`the sizes of ${show(name)} are missing`));
    const method = directory.readUInt16LE(at + 10);
    const { size, stored, start } = fields;
    if (method === 0 && size !== stored)
      refuse(`${show(name)} is stored in ${stored} bytes, but has ${size}`);
    if (start + LOCAL_BYTES + nameBytes! + stored > position)
      refuse(
        `${show(name)} lies at ${start} with ${stored} bytes, beyond the end of the data at ${position}`,
      );
    const entry: ZipEntry = {
      name,
      size,
      start,
      limit: start + LOCAL_BYTES + nameBytes! + stored,
      crc: directory.readUInt32LE(at + 16),
      method,
      isEncrypted: (directory.readUInt16LE(at + 8) & 1) === 1,
    };
    names.set(name, entry);
    list.push(entry);
    at = end;
  }
  if (at !== bytes) refuse(`${bytes - at} bytes of its directory belong to no entry`);
  list.sort((a, b) => a.start - b.start);
  for (const [i, entry] of list.entries()) {
    const next = list[i + 1];
    const limit = next?.start ?? position;
    if (entry.limit > limit) refuse(`${show(entry.name)} and ${show(next?.name ?? 'the directory')} overlap`);
    entry.limit = Math.min(limit, fileSize);
  }
  return names;
}

/** Where the directory is, from the records at the end of the file. */
function findDirectory(
  source: FileBytes,
  refuse: (what: string) => never,
): { position: number; bytes: number; count: number } {
  const { size: fileSize } = source;
  if (fileSize < END_BYTES) refuse(`it has ${fileSize} bytes`);
  const tailStart = Math.max(0, fileSize - END_BYTES - MAX_COMMENT - END64_LOCATOR_BYTES);
  const tail = source.read(tailStart, fileSize - tailStart);
  let at = tail.length - END_BYTES;
  while (
    at >= 0 &&
    !(tail.readUInt32LE(at) === END_SIGNATURE && at + END_BYTES + tail.readUInt16LE(at + 20) === tail.length)
  )
    at--;
  if (at < 0) return refuse('it has no directory at its end: is it complete?');
  const endStart = tailStart + at;
  let count = tail.readUInt16LE(at + 10);
  let bytes = tail.readUInt32LE(at + 12);
  let position = tail.readUInt32LE(at + 16);
  let limit = endStart;
  if (tail.readUInt16LE(at + 4) !== 0 && tail.readUInt16LE(at + 4) !== 0xffff) refuse('it has several parts');
  const locator = at - END64_LOCATOR_BYTES;
  if (locator >= 0 && tail.readUInt32LE(locator) === END64_LOCATOR_SIGNATURE) {
    const end64 = Number(tail.readBigUInt64LE(locator + 8));
    if (end64 + END64_BYTES > endStart - END64_LOCATOR_BYTES) refuse(`its zip64 record lies at ${end64}`);
    const record = source.read(end64, END64_BYTES);
    if (record.readUInt32LE(0) !== END64_SIGNATURE) refuse(`there is no zip64 record at ${end64}`);
    const large = {
      count: Number(record.readBigUInt64LE(32)),
      bytes: Number(record.readBigUInt64LE(40)),
      position: Number(record.readBigUInt64LE(48)),
    };
    // where the short record has a value, it must be the same
    if (count !== 0xffff && count !== large.count) refuse('its two records count different entries');
    if (bytes !== 0xffffffff && bytes !== large.bytes)
      refuse('its two records differ in the size of the directory');
    if (position !== 0xffffffff && position !== large.position)
      refuse('its two records differ in where the directory is');
    ({ count, bytes, position } = large);
    limit = end64;
  }
  if (position + bytes > limit)
    refuse(`its directory lies at ${position} with ${bytes} bytes, beyond ${limit}`);
  return { position, bytes, count };
}

/** Replaces sizes that don't fit 32 bits by those of the zip64 field. */
function readZip64Extra(
  extra: Buffer,
  fields: { size: number; stored: number; start: number },
  missing: () => never,
): void {
  const MAX = 0xffffffff;
  const wanted = (['size', 'stored', 'start'] as const).filter((name) => fields[name] === MAX);
  if (wanted.length === 0) return;
  for (let at = 0; at + 4 <= extra.length;) {
    const length = extra.readUInt16LE(at + 2);
    if (extra.readUInt16LE(at) === ZIP64_EXTRA) {
      if (length < 8 * wanted.length || at + 4 + length > extra.length) missing();
      for (const [i, name] of wanted.entries()) {
        const value = extra.readBigUInt64LE(at + 4 + 8 * i);
        if (value > BigInt(Number.MAX_SAFE_INTEGER)) missing();
        fields[name] = Number(value);
      }
      return;
    }
    at += 4 + length;
  }
  missing();
}

function checkName(name: string, refuse: (what: string) => never): void {
  const isAbsolute = name.startsWith('/') || /^[A-Za-z]:/.test(name);
  const leadsOut = name.split(/[/\\]/).includes('..');
  if (name === '' || isAbsolute || leadsOut || name.includes('\0') || name.includes('\\'))
    refuse(`an entry is called '${show(name)}', which leads out of the archive`);
}
