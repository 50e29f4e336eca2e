/**
 * Videos in and out through the ffmpeg program: frames are read and written as raw pixels through pipes, without a
 * folder of temporary pictures. Nothing here knows about attention.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { access, constants, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { checkCall, variables } from '../plain/check-options.js';
import { ConfigError, DataError, EngineError } from '../errors.js';
import { systemReason } from '../files/system-reason.js';
import { fileUrl, videoInput } from './video-input.js';

const run = promisify(execFile);

/** A frame, (height, width, 3) bytes. */
export interface VideoFrame {
  data: Uint8Array;
  width: number;
  height: number;
}

/** npm packages that bring the program; neither is installed with this one. */
const PACKAGES = ['@ffmpeg-installer/ffmpeg', 'ffmpeg-static'] as const;

export async function isProgram(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Where ffmpeg is: the environment variable FFMPEG, the PATH, or one of the npm packages that ship it.
 *
 * @throws EngineError that says what to install, when there is none; ConfigError when FFMPEG is not a program.
 */
export async function findFfmpeg(environment: NodeJS.ProcessEnv = process.env): Promise<string> {
  checkCall('findFfmpeg()', ['environment', variables, environment]);
  const given = environment['FFMPEG'];
  if (given !== undefined && given !== '') {
    if (await isProgram(given)) return given;
    throw new ConfigError(`FFMPEG is ${given}, which is not a program; expected the path of ffmpeg`);
  }
  const name = process.platform === 'win32' ? 'ffmpeg.exe' : 'ffmpeg';
  for (const folder of (environment['PATH'] ?? '').split(path.delimiter)) {
    if (folder !== '' && (await isProgram(path.join(folder, name)))) return path.join(folder, name);
  }
  for (const name of PACKAGES) {
    const file = await fromPackage(name);
    if (file !== null) return file;
  }
  throw new EngineError(
    'ffmpeg was not found: looked at the environment variable FFMPEG, on the PATH, and for the npm packages ' +
      `${PACKAGES.join(' and ')}.\n` +
      'Install it (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg), or npm install ' +
      `${PACKAGES[0]}, which ships an old one, or set FFMPEG to its path.`,
  );
}

/** A package's program; null when the package or its program for this machine is missing. */
async function fromPackage(name: string): Promise<string | null> {
  try {
    const { default: found } = (await import(name)) as { default: string | { path: string } | null };
    const file = typeof found === 'object' ? found?.path : found;
    return file !== undefined && (await isProgram(file)) ? file : null;
  } catch {
    return null;
  }
}

/** Keeps the last lines that a program prints to stderr. */
function lastLines(child: ChildProcess): () => string[] {
  let text = '';
  child.stderr?.setEncoding('utf8');
  child.stderr?.on('data', (chunk: string) => (text = (text + chunk).slice(-8192)));
  return () =>
    text
      .split(/[\r\n]+/)
      .map((line) => line.replaceAll(/ @ 0x[0-9a-f]+/g, '').trim()) // addresses are of no use
      .filter((line) => line !== '');
}

/** Waits for a program to end, also one that can't be started. @returns Its exit code; null when it was killed. */
async function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const [code] = (await once(child, 'close')) as [number | null];
  return code;
}

/**
 * One picture of a PPM stream at the start of `bytes`, `frame` is null while it is incomplete. Null without a complete
 * header.
 */
function readPpm(bytes: Buffer): { frame: VideoFrame | null; length: number } | null {
  const header = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString('latin1', 0, 64));
  if (header === null) return null;
  const [width, height] = [Number(header[1]), Number(header[2])];
  const length = header[0].length + width * height * 3;
  if (bytes.length < length) return { frame: null, length };
  // copied, since the buffer holds the next frames too
  return {
    frame: { data: Uint8Array.from(bytes.subarray(header[0].length, length)), width, height },
    length,
  };
}

/**
 * The frames of a video, rotated as the file says. What ffmpeg complains about, such as a file that ends in the middle of a
 * frame, goes to `onWarning`, and the frames that it could decode are used.
 *
 * @param options.fps - So many frames a second, for a video whose rate varies; by default as many as ffmpeg finds in it.
 * @throws DataError when no frame can be decoded; the signal's reason when aborted.
 */
export async function* readVideo(
  ffmpeg: string,
  file: string,
  options: {
    fps?: number | undefined;
    onWarning?: (message: string) => void;
    signal?: AbortSignal | undefined;
  } = {},
): AsyncGenerator<VideoFrame, void> {
  // a stream of PPM pictures is raw pixels that carry their own size, which rotation and odd headers may change
  const child = spawn(
    ffmpeg,
    [
      ...['-hide_banner', '-nostdin', '-loglevel', 'error', ...videoInput(file), '-map', '0:v:0'],
      ...(options.fps === undefined ? [] : ['-r', String(options.fps)]),
      ...['-f', 'image2pipe', '-c:v', 'ppm', '-pix_fmt', 'rgb24', '-'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const complaints = lastLines(child);
  const started = once(child, 'spawn').catch((error: unknown) => {
    throw new EngineError(`${ffmpeg} can't be started: ${(error as Error).message}`, { cause: error });
  });
  let frames = 0;
  try {
    await started;
    let parts: Buffer[] = [];
    let held = 0;
    let wanted = 1;
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      options.signal?.throwIfAborted();
      parts.push(chunk);
      held += chunk.length;
      if (held < wanted) continue;
      let rest = Buffer.concat(parts);
      for (let picture = readPpm(rest); picture !== null; picture = readPpm(rest)) {
        wanted = picture.length; // the next one has the same size
        if (picture.frame === null) break;
        rest = rest.subarray(picture.length);
        frames++;
        yield picture.frame;
      }
      parts = [rest];
      held = rest.length;
    }
    const code = await ended(child);
    const [reason] = complaints().slice(-1);
    if (frames === 0) {
      throw new DataError(`Can't read the video ${file}: ${reason ?? 'no frame could be decoded'}`);
    }
    if (held > 0 || code !== 0 || reason !== undefined) {
      options.onWarning?.(
        `${file} is damaged or ends early, ${frames} frames could be decoded (ffmpeg: ${reason ?? `exit code ${code}`})`,
      );
    }
  } finally {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  }
}

/** Encoders for each kind of file, best first. */
const ENCODERS = {
  '.mp4': [
    ['libx264', '-crf', '18', '-preset', 'medium'],
    ['libopenh264', '-b:v', '8M'],
    ['mpeg4', '-q:v', '3'],
  ],
  '.webm': [
    ['libvpx-vp9', '-crf', '24', '-b:v', '0', '-deadline', 'good', '-cpu-used', '4', '-row-mt', '1'],
    ['libvpx', '-crf', '8', '-b:v', '8M', '-deadline', 'good', '-cpu-used', '4'],
  ],
} as const;
export type VideoEnding = keyof typeof ENCODERS;
export const VIDEO_ENDINGS = Object.keys(ENCODERS) as readonly VideoEnding[];

export const isVideoEnding = (ending: string): ending is VideoEnding => Object.hasOwn(ENCODERS, ending);

/** The first encoder for this kind of file that this ffmpeg has. @throws EngineError when it has none. */
async function chooseEncoder(ffmpeg: string, ending: VideoEnding): Promise<readonly string[]> {
  let text: string;
  try {
    text = (await run(ffmpeg, ['-hide_banner', '-encoders'], { maxBuffer: 2 ** 24 })).stdout;
  } catch (error) {
    throw new EngineError(`${ffmpeg} can't be started: ${(error as Error).message}`, { cause: error });
  }
  const known = new Set([...text.matchAll(/^ V\S+ +(\S+)/gm)].map((match) => match[1]!));
  const chosen = ENCODERS[ending].find(([name]) => known.has(name));
  if (chosen !== undefined) return chosen;
  const names = ENCODERS[ending].map(([name]) => name).join(', ');
  throw new EngineError(`${ffmpeg} can't make ${ending} files: it has none of the encoders ${names}`);
}

/** Repeats the last column and row where a side is odd: players want 4:2:0 colour, which needs even sides. */
export function toEvenSize({ data, width, height }: VideoFrame): VideoFrame {
  const even = { width: width + (width % 2), height: height + (height % 2) };
  if (even.width === width && even.height === height) return { data, width, height };
  const out = new Uint8Array(even.width * even.height * 3);
  for (let y = 0; y < even.height; y++) {
    const from = Math.min(y, height - 1) * width * 3;
    const to = y * even.width * 3;
    out.set(data.subarray(from, from + width * 3), to);
    if (even.width > width) out.set(data.subarray(from + (width - 1) * 3, from + width * 3), to + width * 3);
  }
  return { data: out, ...even };
}

/**
 * Writes frames to a video file. The file gets its name only when it is complete; until then it has one that no other file
 * has (two processes may write one video, and a `NAME.part` may be somebody's download).
 */
export class VideoWriter implements AsyncDisposable {
  readonly encoder: string;
  readonly #file: string;
  readonly #partial: string;
  readonly #child: ChildProcess;
  /** Its exit code; null when it was killed or can't be started. Fulfilled once, and never rejected. */
  readonly #ended: Promise<number | null>;
  /** Aborted when ffmpeg has ended. */
  readonly #end = new AbortController();
  readonly #complaints: () => string[];
  readonly #size: { width: number; height: number };
  #failure: Error | null = null;

  private constructor(
    names: { file: string; partial: string },
    child: ChildProcess,
    encoder: string,
    size: { width: number; height: number },
  ) {
    this.#file = names.file;
    this.#partial = names.partial;
    this.#child = child;
    this.#ended = ended(child)
      .catch(() => null)
      .finally(() => this.#end.abort());
    this.#size = size;
    this.encoder = encoder;
    this.#complaints = lastLines(child);
    // a pipe breaks when ffmpeg ends early: its own message is the better reason, see #fail
    child.stdin?.on('error', (error) => (this.#failure ??= error));
    child.on('error', (error) => (this.#failure ??= error));
  }

  /**
   * @param size - Of every frame; both even.
   * @throws EngineError when ffmpeg can't be started or has no encoder for this kind of file.
   */
  static async open(
    ffmpeg: string,
    file: string,
    options: { width: number; height: number; fps: number },
  ): Promise<VideoWriter> {
    const ending = path.extname(file).toLowerCase();
    if (!isVideoEnding(ending)) {
      throw new ConfigError(`${file}: expected a name that ends in ${VIDEO_ENDINGS.join(' or ')}`);
    }
    const encoder = await chooseEncoder(ffmpeg, ending);
    const { width, height, fps } = options;
    const partial = `${file}.partial-${randomBytes(4).toString('hex')}`;
    const child = spawn(
      ffmpeg,
      [
        ...['-hide_banner', '-loglevel', 'error', '-n'], // an existing file is refused
        ...[
          '-f',
          'rawvideo',
          '-pix_fmt',
          'rgb24',
          '-s',
          `${width}x${height}`,
          '-r',
          String(fps),
          '-i',
          'pipe:0',
        ],
        ...['-an', '-c:v', ...encoder, '-pix_fmt', 'yuv420p'],
        ...(ending === '.mp4' ? ['-movflags', '+faststart'] : []),
        ...['-f', ending.slice(1), fileUrl(partial)],
      ],
      { stdio: ['pipe', 'ignore', 'pipe'] },
    );
    return new VideoWriter({ file, partial }, child, encoder[0]!, { width, height });
  }

  /** @throws DataError when ffmpeg gave up, with its reason; a message with internal: is a bug of ours. */
  async write(frame: VideoFrame): Promise<void> {
    const { width, height } = this.#size;
    if (frame.width !== width || frame.height !== height) {
      throw new DataError(
        `internal: a frame of ${frame.width} x ${frame.height} in a video of ${width} x ${height}`,
      );
    }
    const { stdin } = this.#child;
    if (this.#failure !== null || this.#child.exitCode !== null) throw await this.#fail();
    if (stdin!.write(frame.data)) return;
    // full: wait until it drains, or until ffmpeg ends; either leaves no listener behind, as there are many frames
    await once(stdin!, 'drain', { signal: this.#end.signal }).catch(() => undefined);
    if (this.#failure !== null || this.#child.exitCode !== null) throw await this.#fail();
  }

  /** Finishes the file and renames it. @throws DataError when ffmpeg failed. */
  async close(): Promise<void> {
    this.#child.stdin!.end();
    const code = await this.#ended;
    if (code !== 0 || this.#failure !== null) throw await this.#fail();
    try {
      await rename(this.#partial, this.#file);
    } catch (error) {
      throw new DataError(`${this.#file} can't be written: ${systemReason(error, this.#partial)}`, {
        cause: error,
      });
    }
  }

  async #fail(): Promise<Error> {
    await this.#ended;
    const reason =
      this.#complaints().slice(-2).join('; ') || this.#failure?.message || 'ffmpeg gave no reason';
    // ffmpeg writes to a temporary name
    const said = reason.replaceAll(this.#partial, () => this.#file);
    return new DataError(`${this.#file} can't be written: ${said}`, { cause: this.#failure });
  }

  /** Stops, and leaves no file, unless close() was called. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL');
      await this.#ended;
    }
    await rm(this.#partial, { force: true });
  }
}
