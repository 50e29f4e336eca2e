/**
 * What a video file says of itself: by ffprobe's JSON where that program is there, else by the text that ffmpeg prints for
 * people. Both are given the same restrictions (video-input.ts).
 */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { DataError, EngineError } from '../errors.js';
import { isProgram } from './ffmpeg.js';
import { videoInput } from './video-input.js';

const run = promisify(execFile);

export interface VideoInfo {
  /** Frames per second: the mean where the rate varies, else the rate at which ffmpeg reads it. */
  fps: number;
  /** Left to itself ffmpeg reads it at another rate than `fps`, see ratesOf(). */
  isVariable: boolean;
  /** Null when the file doesn't say. */
  seconds: number | null;
}

/** A program that takes longer to describe a file hangs. */
const PROBE_MS = 60_000;
/** Of a file that says nothing: PAL's. */
const USUAL_FPS = 25;
/** How far apart, as a share, the two rates of a constant video may lie: files round the times of frames. */
const ROUNDING = 0.01;

/**
 * `base` is the lowest rate that has a place for every frame, and ffmpeg fills each place: where the rate varies, it repeats
 * frames until there are many times as many as the file has (60 a second of a screen recording that has 17 in the mean).
 */
function ratesOf(mean: number | null, base: number | null): Pick<VideoInfo, 'fps' | 'isVariable'> {
  const isVariable = mean !== null && (base === null || Math.abs(mean / base - 1) > ROUNDING);
  return { fps: isVariable ? mean : (base ?? USUAL_FPS), isVariable };
}

/** Why a program ended. */
interface Failure {
  stderr?: string;
  /** Its exit code; text when it could not be started. */
  code?: unknown;
  killed?: boolean;
  message: string;
}

/** Beside ffmpeg, or on the PATH; null when it is not there. */
export async function findFfprobe(ffmpeg: string): Promise<string | null> {
  const name = process.platform === 'win32' ? 'ffprobe.exe' : 'ffprobe';
  const folders = [path.dirname(ffmpeg), ...(process.env['PATH'] ?? '').split(path.delimiter)];
  for (const folder of folders.filter((each) => each !== '')) {
    const file = path.join(folder, name);
    if (await isProgram(file)) return file;
  }
  return null;
}

/**
 * @param program - ffprobe; null to ask only ffmpeg. By default the one that findFfprobe() finds.
 * @throws DataError when it can't be read, is not a video, or has no picture; EngineError when ffmpeg can't be started.
 */
export async function probeVideo(ffmpeg: string, file: string, program?: string | null): Promise<VideoInfo> {
  const input = videoInput(file);
  const ffprobe = program === undefined ? await findFfprobe(ffmpeg) : program;
  const found = ffprobe === null ? null : await probeByJson(ffprobe, input, file);
  // what ffprobe can't read, ffmpeg refuses with a reason
  return found ?? probeByText(ffmpeg, input, file);
}

const hangs = (file: string, program: string, cause: unknown): DataError =>
  new DataError(`Can't read the video ${file}: ${program} found nothing in it within a minute`, { cause });

const answerSchema = z.object({
  streams: z.tuple([z.object({ avg_frame_rate: z.string(), r_frame_rate: z.string() })]),
  format: z.object({ duration: z.string().optional() }),
});

/** `30000/1001`; null for `0/0`, which stands for an unknown rate. */
function rateOf(text: string): number | null {
  const [above, below] = text.split('/').map(Number);
  const rate = (above ?? NaN) / (below ?? 1);
  return Number.isFinite(rate) && rate > 0 ? rate : null;
}

/** By ffprobe; null when it has no answer. @throws DataError when it hangs. */
async function probeByJson(
  ffprobe: string,
  input: readonly string[],
  file: string,
): Promise<VideoInfo | null> {
  // only these: a stranger's file may have any number of streams and tags
  const entries = [
    '-select_streams',
    'v:0',
    '-show_entries',
    'stream=avg_frame_rate,r_frame_rate:format=duration',
  ];
  let text: string;
  try {
    const args = ['-loglevel', 'error', '-print_format', 'json', ...entries, ...input];
    text = (await run(ffprobe, args, { timeout: PROBE_MS })).stdout;
  } catch (error) {
    if ((error as Failure).killed === true) throw hangs(file, 'ffprobe', error);
    return null;
  }
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    return null;
  }
  const { data } = answerSchema.safeParse(answer);
  if (data === undefined) return null;
  const [{ avg_frame_rate: average, r_frame_rate: base }] = data.streams;
  const seconds = Number(data.format.duration ?? NaN);
  return {
    ...ratesOf(rateOf(average), rateOf(base)),
    seconds: Number.isFinite(seconds) ? seconds : null,
  };
}

/** Rates that ffmpeg prints rounded. */
const FRACTIONS: Readonly<Record<string, number>> = {
  '23.98': 24000 / 1001,
  '29.97': 30000 / 1001,
  '59.94': 60000 / 1001,
};

/** `29.97 fps`, `60 tbr`, `1k tbr`; null where there is none. */
function printedRate(stream: string, unit: 'fps' | 'tbr'): number | null {
  const [, digits, thousands] = new RegExp(`([\\d.]+)(k?) ${unit}`).exec(stream) ?? [];
  if (digits === undefined) return null;
  return FRACTIONS[digits] ?? Number(digits) * (thousands === 'k' ? 1000 : 1);
}

/** By what ffmpeg prints of its input. @throws As probeVideo(). */
async function probeByText(ffmpeg: string, input: readonly string[], file: string): Promise<VideoInfo> {
  // without an output ffmpeg describes its input and ends with an error; the program is local, so is the file
  let text: string;
  try {
    text = (await run(ffmpeg, ['-hide_banner', '-nostdin', ...input], { timeout: PROBE_MS })).stderr;
  } catch (error) {
    const failure = error as Failure;
    if (failure.killed === true) throw hangs(file, 'ffmpeg', error);
    if (typeof failure.code !== 'number') {
      throw new EngineError(`${ffmpeg} can't be started: ${failure.message}`, { cause: error });
    }
    text = failure.stderr ?? '';
  }
  const stream = /Stream #.*Video: .*/.exec(text)?.[0];
  if (stream === undefined) {
    const reason = text.split('\n').find((line) => line.startsWith(file) || /invalid|error/i.test(line));
    throw new DataError(
      `Can't read the video ${file}: ${
        /Stream #/.test(text) ? 'it has no picture' : (reason?.trim() ?? 'no video in it')
      }`,
    );
  }
  const clock = /Duration: (\d+):(\d+):([\d.]+)/.exec(text);
  const seconds = clock === null ? null : Number(clock[1]) * 3600 + Number(clock[2]) * 60 + Number(clock[3]);
  return { ...ratesOf(printedRate(stream, 'fps'), printedRate(stream, 'tbr')), seconds };
}
