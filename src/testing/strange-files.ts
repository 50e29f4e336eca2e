/** For tests: files that are not images but have the name of one. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import sharp from 'sharp';

const png = (side: number): Promise<Buffer> =>
  sharp({ create: { width: side, height: side, channels: 3, background: 'teal' } })
    .png()
    .toBuffer();

/** A PNG whose header claims a different size. */
async function claiming(width: number, height: number): Promise<Buffer> {
  const bytes = await png(8);
  bytes.writeUInt32BE(width, 16);
  bytes.writeUInt32BE(height, 20);
  return bytes;
}

/** An SVG that would show a file on this machine. */
const svg = (start = ''): string =>
  `${start}<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="40" height="40">` +
  '<image xlink:href="file:///etc/hostname" width="40" height="40"/></svg>';

interface Strange {
  /** The reason with which it is skipped. */
  reason: RegExp;
  /** @returns What to call when the test is done. */
  make: (file: string) => Promise<void | (() => void)> | void;
}

const sparse = (file: string, start: Uint8Array): void => {
  writeFileSync(file, start);
  truncateSync(file, 3 * 2 ** 30);
};

/** By description. None of them is an image. */
export const STRANGE: Readonly<Record<string, Strange>> = {
  'a link to a device': {
    reason: /is a device, not a regular file/,
    make: (file) => symlinkSync('/dev/zero', file),
  },
  'a FIFO': { reason: /is a FIFO, not a regular file/, make: (file) => void execFileSync('mkfifo', [file]) },
  'a socket': {
    reason: /is a socket or a device, not a regular file/,
    async make(file) {
      const server = createServer().unref();
      await new Promise<void>((resolve) => server.listen(file, resolve));
      return () => server.close();
    },
  },
  'a link to nothing': { reason: /no such file/, make: (file) => symlinkSync(`${file}.gone`, file) },
  'a link to itself': { reason: /symbolic links form a cycle/, make: (file) => symlinkSync(file, file) },
  'a huge file of nothing': {
    reason: /3221225472 bytes, more than/,
    make: (file) => sparse(file, Buffer.of(0)),
  },
  'a huge file that begins as an image': {
    reason: /3221225472 bytes, more than/,
    make: async (file) => sparse(file, await png(8)),
  },
  'a large file of nothing': {
    reason: /not a JPEG, PNG/,
    make(file) {
      writeFileSync(file, '');
      truncateSync(file, 2 ** 29);
    },
  },
  'an empty file': { reason: /the file is empty/, make: (file) => writeFileSync(file, '') },
  'a file that was cut': {
    reason: /damaged PNG: the end of the file is missing/,
    make: async (file) => writeFileSync(file, (await png(40)).subarray(0, 90)),
  },
  'an SVG': { reason: /not a JPEG, PNG/, make: (file) => writeFileSync(file, svg()) },
  'an SVG that begins as a GIF': {
    reason: /damaged GIF/,
    make: (file) => writeFileSync(file, svg('GIF89a')),
  },
  'an image of 60,000 x 60,000 pixels': {
    reason: /PNG of more than 178956970 pixels/,
    make: async (file) => writeFileSync(file, await claiming(60_000, 60_000)),
  },
};

/** Puts one in the place of a file. @returns What to call when the test is done. */
export async function putStrange(kind: string, file: string): Promise<() => void> {
  rmSync(file, { force: true, recursive: true });
  const done = await STRANGE[kind]!.make(file);
  return done ?? (() => undefined);
}

/** A folder of good images; their names begin with "good". */
export async function putGood(folder: string, count: number): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < count; i++) writeFileSync(`${folder}/good ${i}.png`, await png(40));
}
