/**
 * Reads wheels, which are zip files: their directory, and members of them, each checked against the wheel's RECORD. Nothing
 * is written outside of the folder given. (Zip: PKWARE's APPNOTE; wheels: packaging.python.org, "Binary distribution format".)
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, mkdirSync, openSync, closeSync, readSync } from 'node:fs';
import path from 'node:path';
import { Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';
import { SetupError } from './setup-error.mjs';

/** The end record and the longest comment that may follow it. */
export const TAIL_BYTES = 22 + 65_535;
const MAX_DIRECTORY_BYTES = 64 * 2 ** 20;
const METHODS = [0, 8]; // stored, deflated
const SYMBOLIC_LINK = 0o120000;

/** Where the directory is, from a file's last bytes. */
export function directoryPlace(tail, size, name) {
  const at = tail.lastIndexOf(Buffer.from([0x50, 0x4b, 5, 6]));
  if (at < 0 || at + 22 > tail.length) throw new SetupError(`${name} is not a zip file, or is cut off`);
  const [entries, bytes, start] = [
    tail.readUInt16LE(at + 10),
    tail.readUInt32LE(at + 12),
    tail.readUInt32LE(at + 16),
  ];
  if (entries === 0xffff || bytes === 0xffffffff || start === 0xffffffff)
    throw new SetupError(`${name} is a zip file in the format for more than 4 GB, which is not supported`);
  if (start + bytes > size || bytes > MAX_DIRECTORY_BYTES)
    throw new SetupError(`${name} is damaged: its directory lies outside of the file`);
  return { start, end: start + bytes, entries };
}

/** Whether a member's name stays inside of a folder, on every system. */
const isInside = (name) =>
  name !== '' &&
  !/[\\:\0]/.test(name) &&
  !name.startsWith('/') &&
  name.split('/').every((part) => part !== '' && part !== '.' && part !== '..');

/**
 * The files of a directory, in their order in the wheel; `end` is where the next member begins.
 * @returns {{ name: string, method: number, crc: number, packed: number, size: number, start: number, end: number }[]}
 */
export function readDirectory(bytes, place, name) {
  const members = [];
  const damaged = (why) => new SetupError(`${name} is damaged: ${why}`);
  for (let at = 0, i = 0; i < place.entries; i++) {
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== 0x02014b50)
      throw damaged('its directory is cut off');
    const [nameBytes, extra, comment] = [28, 30, 32].map((field) => bytes.readUInt16LE(at + field));
    if (at + 46 + nameBytes > bytes.length) throw damaged('its directory is cut off');
    const member = {
      name: bytes.subarray(at + 46, at + 46 + nameBytes).toString('utf8'),
      method: bytes.readUInt16LE(at + 10),
      packed: bytes.readUInt32LE(at + 20),
      size: bytes.readUInt32LE(at + 24),
      start: bytes.readUInt32LE(at + 42),
    };
    const isEncrypted = (bytes.readUInt16LE(at + 8) & 1) !== 0;
    const kind = (bytes.readUInt32LE(at + 38) >>> 16) & 0o170000;
    at += 46 + nameBytes + extra + comment;
    if (member.name.endsWith('/')) continue; // folders are made as they are needed
    if (!isInside(member.name))
      throw damaged(`a file in it would be written to ${JSON.stringify(member.name)}`);
    if (isEncrypted || kind === SYMBOLIC_LINK || !METHODS.includes(member.method))
      throw damaged(`${member.name} is encrypted, a link, or packed in an unknown way`);
    members.push(member);
  }
  if (new Set(members.map((member) => member.name)).size < members.length)
    throw damaged('two files have one name');
  members.sort((a, b) => a.start - b.start);
  for (const [i, member] of members.entries()) {
    member.end = members[i + 1]?.start ?? place.start;
    if (member.start + 30 + member.packed > member.end)
      throw damaged(`${member.name} overlaps what follows it`);
  }
  return members;
}

/** SHA-256 in base64url and size of each file that a RECORD names. */
export function readRecord(text) {
  const lines = text
    .split(/\r?\n/)
    .map((line) => /^(?:"((?:[^"]|"")*)"|([^,]*)),(?:sha256=([^,]*))?,(\d*)$/.exec(line));
  return new Map(
    lines
      .filter((found) => found?.[3])
      .map(([, quoted, bare, hash]) => [quoted?.replaceAll('""', '"') ?? bare, hash]),
  );
}

/** Where a member's data begin: behind its header, whose length only the header says. */
function dataStart(file, at, name) {
  const header = Buffer.alloc(30);
  const handle = openSync(file, 'r');
  try {
    readSync(handle, header, 0, 30, at);
  } finally {
    closeSync(handle);
  }
  if (header.readUInt32LE(0) !== 0x04034b50)
    throw new SetupError(`${name} is damaged: no file begins where its directory says`);
  return at + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
}

/** Passes on what it is given, counts and hashes it, and stops when it is more than the directory says. */
class Measured extends Transform {
  #hash = createHash('sha256');
  bytes = 0;
  constructor(member) {
    super();
    this.member = member;
  }
  _transform(chunk, _encoding, done) {
    this.bytes += chunk.length;
    if (this.bytes > this.member.size)
      return done(new SetupError(`${this.member.name} is larger than its wheel says`));
    this.#hash.update(chunk);
    done(null, chunk);
  }
  digest = (encoding) => this.#hash.digest(encoding);
}

/** @param offset where in `file` the wheel's byte 0 would be: negative for a file that holds a part of it */
async function unpackTo(sink, file, offset, member) {
  const start = dataStart(file, member.start + offset, member.name);
  const measured = new Measured(member);
  const input = createReadStream(file, { start, end: Math.max(start, start + member.packed - 1) });
  try {
    if (member.size === 0) await pipeline([], measured, sink);
    else if (member.method === 0) await pipeline(input, measured, sink);
    else await pipeline(input, createInflateRaw(), measured, sink);
  } catch (error) {
    if (/^Z_/.test(error.code ?? ''))
      throw new SetupError(`${member.name} is damaged: ${error.message}`, { cause: error });
    throw error;
  }
  if (measured.bytes !== member.size)
    throw new SetupError(`${member.name} is damaged: it has ${measured.bytes} of ${member.size} bytes`);
  return measured;
}

/** A member's text, for the small ones. @returns {Promise<{ text: string, sha256: string }>} */
export async function readMember(file, offset, member) {
  const chunks = [];
  const sink = new Writable({ write: (chunk, _encoding, done) => (chunks.push(chunk), done()) });
  const measured = await unpackTo(sink, file, offset, member);
  return { text: Buffer.concat(chunks).toString('utf8'), sha256: measured.digest('hex') };
}

/** Writes a member below `folder`, checked against the wheel's RECORD. */
export async function unpackMember(file, offset, member, folder, record) {
  const target = path.join(folder, ...member.name.split('/'));
  mkdirSync(path.dirname(target), { recursive: true });
  const isLibrary = /\.(so|dylib|dll)(\.|$)/.test(member.name);
  const sink = createWriteStream(target, { mode: isLibrary ? 0o755 : 0o644 });
  const measured = await unpackTo(sink, file, offset, member);
  const hash = measured.digest('base64url');
  if (record.get(member.name) !== hash)
    throw new SetupError(`${member.name} is damaged: its SHA-256 does not match the wheel's RECORD`);
}
