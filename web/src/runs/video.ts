/** Saves the film as a video, which the browser's own recorder encodes while the film is drawn once, at its speed. */
import { drawFrames, type FilmOptions } from './film-frames.ts';

export interface VideoKind {
  /** Of the file. */
  extension: 'mp4' | 'webm';
  name: 'MP4' | 'WebM';
  /** For the recorder. */
  type: string;
}

/** H.264 in MP4 plays everywhere, but not every browser may encode it. */
const KINDS: readonly VideoKind[] = [
  { extension: 'mp4', name: 'MP4', type: 'video/mp4;codecs=avc1.640028' },
  { extension: 'mp4', name: 'MP4', type: 'video/mp4;codecs=avc1.42E028' },
  { extension: 'webm', name: 'WebM', type: 'video/webm;codecs=vp9' },
  { extension: 'webm', name: 'WebM', type: 'video/webm' },
];

/** The best kind that this browser can make; null: none. */
export const videoKind = (): VideoKind | null =>
  typeof MediaRecorder === 'undefined'
    ? null
    : (KINDS.find(({ type }) => MediaRecorder.isTypeSupported(type)) ?? null);

/** Much for pictures that stand still: the colours' edges stay sharp. */
const BITS_PER_SECOND = 6_000_000;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** @returns The file's bytes. @throws Error when the recorder fails. */
export async function makeVideo(kind: VideoKind, options: FilmOptions): Promise<Blob> {
  const parts: Blob[] = [];
  let recorder: MediaRecorder | null = null;
  let track: CanvasCaptureMediaStreamTrack | null = null;
  let failure: unknown = null;
  for await (const { context, ms } of drawFrames(options)) {
    if (recorder === null) {
      const stream = context.canvas.captureStream(0); // a frame when it is asked for
      track = stream.getVideoTracks()[0] as CanvasCaptureMediaStreamTrack;
      recorder = new MediaRecorder(stream, { mimeType: kind.type, videoBitsPerSecond: BITS_PER_SECOND });
      recorder.ondataavailable = ({ data }) => parts.push(data);
      recorder.onerror = (event) => {
        failure = event.error;
      };
      const begun = new Promise((resolve) => recorder!.addEventListener('start', resolve, { once: true }));
      recorder.start();
      await begun;
    }
    track!.requestFrame();
    await sleep(ms);
    if (failure !== null) break;
  }
  if (recorder === null || track === null) throw new Error('There is nothing to save.');
  track.requestFrame(); // until here the last frame is shown
  await sleep(50);
  const ended = new Promise((resolve) => recorder.addEventListener('stop', resolve, { once: true }));
  if (recorder.state !== 'inactive') {
    recorder.stop();
    await ended;
  }
  track.stop();
  if (failure !== null) throw failure instanceof Error ? failure : new Error('The recorder failed.');
  return new Blob(parts, { type: kind.type.split(';')[0]! });
}
