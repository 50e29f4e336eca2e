/** For tests: images on disk, and tar headers that no well-behaved program writes. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { fixtureImage } from './fixture-image.js';

export const jpegOf = (seed: number, width = 40, height = 30): Promise<Buffer> =>
  sharp(fixtureImage(width, height, seed), { raw: { width, height, channels: 3 } })
    .jpeg()
    .toBuffer();

/** Writes a different small JPEG for each name. */
export async function writeImages(folder: string, names: readonly string[]): Promise<string> {
  for (const [i, name] of names.entries()) {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, await jpegOf(i, 36 + (i % 9), 30 + (i % 7)));
  }
  return folder;
}

interface RawMember {
  name: string;
  content?: Buffer | string;
  type?: string;
  /** Replaces the real one: the field's 12 bytes, or a number. */
  size?: Buffer | number;
  prefix?: string;
}

/** An archive built byte by byte, with correct checksums. */
export function rawTar(members: readonly RawMember[], end = true): Buffer {
  const blocks: Buffer[] = [];
  for (const { name, content = '', type = '0', size, prefix = '' } of members) {
    const bytes = Buffer.from(content);
    const header = Buffer.alloc(512);
    header.write(name, 0, 100);
    header.write('0000644\0', 100);
    const octal = `${(typeof size === 'number' ? size : bytes.length).toString(8).padStart(11, '0')}\0`;
    (Buffer.isBuffer(size) ? size : Buffer.from(octal)).copy(header, 124, 0, 12);
    header.write('        ', 148);
    header.write(type, 156);
    header.write('ustar\x0000', 257, 'latin1');
    header.write(prefix, 345, 155);
    header.write(
      `${header
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
    );
    blocks.push(header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512));
  }
  return Buffer.concat([...blocks, Buffer.alloc(end ? 1024 : 0)]);
}
