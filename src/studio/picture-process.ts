/**
 * A process that makes pictures small for the page, started by thumbnails.ts: what a stranger's file does to a decoder, it
 * does here. It ends itself when a picture takes more memory than one may.
 */
import sharp from 'sharp';
import { imageHeader, imageThumbnail, type Size } from '../data/read/decode.js';

/** A request for a thumbnail, or for a picture's size. */
export interface PictureRequest {
  /** A path, links followed, or the bytes of a file. */
  source: string | Uint8Array;
  /** Longest side of the thumbnail in pixels; null for only the size. */
  side: number | null;
}

export type PictureReply = { size: Size; data: Uint8Array | null } | { problem: string; isOver: boolean };

/** Resident memory, bytes. */
const MEMORY_LIMIT = Number(process.argv[2]);
const LOOK_MS = 10;
const QUALITY = 82;

sharp.concurrency(1); // there are several of these processes
sharp.cache(false);
// what is not an image is refused by its first bytes; this holds in case a decoder takes it for another format
sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({
  operation: ['Jpeg', 'Png', 'Webp', 'Heif', 'Tiff', 'Nsgif'].map((kind) => `VipsForeignLoad${kind}`),
});

const send = (reply: PictureReply): void => {
  process.send?.(reply);
};

async function answer({ source, side }: PictureRequest): Promise<PictureReply> {
  try {
    if (side === null) return { size: await imageHeader(source), data: null };
    const { data, width, height } = await imageThumbnail(source, side, QUALITY);
    return { size: { width, height }, data };
  } catch (error) {
    return { problem: (error as Error).message, isOver: false };
  }
}

process.on('message', (request: PictureRequest) => {
  // decoding happens on other threads: this one is free to look
  const watch = setInterval(() => {
    if (process.memoryUsage.rss() <= MEMORY_LIMIT) return;
    clearInterval(watch);
    const problem = `decoding it takes more than ${Math.round(MEMORY_LIMIT / 2 ** 20)} MiB of memory`;
    process.send?.({ problem, isOver: true } satisfies PictureReply, () => process.exit(1));
  }, LOOK_MS);
  void answer(request)
    .then(send)
    .finally(() => clearInterval(watch));
});
process.on('disconnect', () => process.exit(0));
// Ctrl-C in the terminal reaches the whole group: the server ends this process when it is done
process.on('SIGINT', () => undefined);
