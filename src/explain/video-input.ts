/** What ffmpeg may open when it is given a stranger's video: only that file, and only as the kind that it is. */
import { closeSync, readSync } from 'node:fs';
import path from 'node:path';
import { MAX_PIXELS } from '../data/read/image-format.js';
import { DataError } from '../errors.js';
import { openToRead } from '../files/guarded.js';

/** A name that ffmpeg takes for a file, whatever characters it has ('http:', '-', '%03d'). */
export const fileUrl = (file: string): string => `file:${path.resolve(file)}`;

/** Kinds of video: the demuxer's whole name, by which ffmpeg's list knows it, and how such a file begins. */
const KINDS = {
  mov: {
    demuxer: 'mov,mp4,m4a,3gp,3g2,mj2',
    begins: (text: string) =>
      /^.{4}(ftyp|moov|mdat|moof|styp|sidx|free|skip|wide|pnot|uuid|junk|pict|udta|prfl)/s.test(text),
  },
  matroska: { demuxer: 'matroska,webm', begins: (text: string) => text.startsWith('\x1a\x45\xdf\xa3') },
  avi: { demuxer: 'avi', begins: (text: string) => /^RIFF.{4}(AVI|AMV )/s.test(text) },
  // packets of 188 bytes, or of 192 with a timestamp before each
  mpegts: {
    demuxer: 'mpegts',
    begins: (text: string) => /^G.{187}G.{187}G/s.test(text) || /^.{4}G.{191}G.{191}G/s.test(text),
  },
  mpeg: { demuxer: 'mpeg', begins: (text: string) => text.startsWith('\0\0\x01\xba') },
  mpegvideo: { demuxer: 'mpegvideo', begins: (text: string) => text.startsWith('\0\0\x01\xb3') },
  ogg: { demuxer: 'ogg', begins: (text: string) => text.startsWith('OggS') },
  flv: { demuxer: 'flv', begins: (text: string) => text.startsWith('FLV\x01') },
  asf: {
    demuxer: 'asf',
    begins: (text: string) => text.startsWith('\x30\x26\xb2\x75\x8e\x66\xcf\x11'),
  },
  gif: { demuxer: 'gif', begins: (text: string) => /^GIF8[79]a/.test(text) },
  nut: { demuxer: 'nut', begins: (text: string) => text.startsWith('nut/multimedia container\0') },
  yuv4mpegpipe: { demuxer: 'yuv4mpegpipe', begins: (text: string) => text.startsWith('YUV4MPEG2 ') },
} as const;
type VideoKind = keyof typeof KINDS;

const SNIFFED = 600;

/** @throws DataError when it is not a regular file of one of these kinds. */
function sniffVideo(file: string): VideoKind {
  const { fd, size } = openVideo(file);
  const bytes = Buffer.alloc(Math.min(SNIFFED, size));
  try {
    readSync(fd, bytes, 0, bytes.length, 0);
  } finally {
    closeSync(fd);
  }
  const text = bytes.toString('latin1');
  const kind = (Object.keys(KINDS) as VideoKind[]).find((name) => KINDS[name].begins(text));
  if (kind !== undefined) return kind;
  throw new DataError(
    `Can't read the video ${file}: ${whatElse(text)}; expected MP4 or MOV, Matroska or WebM, AVI, MPEG, Ogg, FLV, ASF ` +
      '(WMV), GIF, NUT or YUV4MPEG',
  );
}

function openVideo(file: string): { fd: number; size: number } {
  try {
    return openToRead(file, { maxBytes: Infinity });
  } catch (error) {
    throw new DataError(`Can't read the video: ${(error as Error).message}`, { cause: error });
  }
}

function whatElse(text: string): string {
  if (text === '') return 'it is empty';
  if (text.startsWith('#EXTM3U')) return 'it is a playlist (HLS), which names other files';
  if (text.startsWith('ffconcat')) return 'it is a list of other files (ffconcat)';
  if (/^\s*(<\?xml|<MPD|<asx|\[playlist\])/i.test(text))
    return 'it is a playlist or XML, which can name other files';
  if (/^(RIFF.{4}WAVE|ID3|fLaC)/s.test(text)) return 'it has no picture, only sound';
  return 'it is not a video of a supported kind';
}

/**
 * A video as ffmpeg's input. Left to itself ffmpeg guesses what a file is, and some kinds of file name others (playlists,
 * ffconcat, external tracks). So the kind is told by its first bytes, only kinds that hold their pictures themselves are
 * allowed, only files may be opened, and no frame may be larger than an image may be.
 *
 * @returns Arguments up to and including the input.
 * @throws DataError when it is not a regular file, or not a video of these kinds.
 */
export function videoInput(file: string): string[] {
  const kind = sniffVideo(file);
  return [
    ...['-protocol_whitelist', 'file', '-format_whitelist', KINDS[kind].demuxer, '-f', kind],
    ...(kind === 'mov' ? ['-enable_drefs', '0', '-use_absolute_path', '0'] : []),
    ...['-max_pixels', String(MAX_PIXELS), '-i', fileUrl(file)],
  ];
}
