/** The watched images of the runs that are shown, their pictures, and their attention after a step. */
import { useMemo, useRef } from 'preact/hooks';
import { meanMap } from '../../../src/plain/maps.ts';
import { unpackArrays } from '../../../src/plain/packed.ts';
import { type FilmFrameFacts, type FilmImage, request } from '../api.ts';
import type { Attention } from '../attention/heads.tsx';
import type { Painting } from '../attention/paint.ts';
import { isHeard } from '../live.ts';
import { counted } from '../ui/format.ts';
import { type Answer, useAnswer } from '../use-answer.ts';

/** How often the folder of a running training is checked for new frames. */
const POLL_MS = 2000;
/** Steps whose frames are kept. */
const KEPT = 300;

/** An image's attention after a step, without its picture. */
export interface Frame extends Pick<Attention, 'rows' | 'columns' | 'heads' | 'maps' | 'mean'> {
  step: number;
}

/** By the images' names: what is there, or why there is nothing. */
export type Frames = ReadonlyMap<string, Frame | { problem: string }>;

async function loadFrames(run: string, step: number): Promise<Frames> {
  const bytes = await request('GET /api/runs/:run/frames/:step', { params: { run, step: String(step) } });
  const { facts, arrays } = unpackArrays(bytes as Uint8Array<ArrayBuffer>);
  let at = 0;
  return new Map(
    (facts as FilmFrameFacts).images.map(
      ({ name, problem, heads, rows, columns }): [string, Frame | { problem: string }] => {
        if (problem !== null) return [name, { problem }];
        const maps = arrays[at++] as Float32Array;
        return [name, { step, heads, rows, columns, maps, mean: meanMap(maps, heads) }];
      },
    ),
  );
}

/** What is needed of a run: what was recorded after a step, of so many images. */
export interface Wanted {
  run: string;
  step: number;
  images: number;
}

/** Frames of runs by step, each asked for once, and again when more images have one. */
export class FrameStore {
  readonly #frames = new Map<string, Promise<Frames>>();

  get({ run, step, images }: Wanted): Promise<Frames> {
    const key = `${run} ${step} ${images}`;
    let found = this.#frames.get(key);
    if (found === undefined) {
      found = loadFrames(run, step);
      found.catch(() => this.#frames.delete(key)); // it may be there later
      if (this.#frames.size >= KEPT) this.#frames.delete(this.#frames.keys().next().value!);
    } else this.#frames.delete(key);
    this.#frames.set(key, found); // the newest is last
    return found;
  }
}

/** The watched images by run. */
export type Watched = ReadonlyMap<string, readonly FilmImage[]>;

/** @param isLive - A training is running: new frames are looked for. */
export function useWatched(runs: readonly string[], isLive: boolean): Answer<string, Watched> {
  const last = useRef<Watched | null>(null);
  const load = async (_: string, signal?: AbortSignal): Promise<Watched> => {
    // a studio that is gone is not asked again and again
    if (last.current !== null && !isHeard.peek()) return last.current;
    const found = runs.map(
      async (run) => [run, await request('GET /api/runs/:run/watch', { params: { run } }, signal)] as const,
    );
    return (last.current = new Map(await Promise.all(found)));
  };
  return useAnswer(load, runs.join(), { keep: true, every: isLive ? POLL_MS : undefined });
}

/** Every step after which some of the images were recorded. */
export const stepsOf = (watched: Watched): number[] =>
  [...new Set([...watched.values()].flatMap((images) => images.flatMap(({ steps }) => steps)))].sort(
    (a, b) => a - b,
  );

/** The newest of an image's steps that is not after `step`; its first where all are. */
export const stepAt = ({ steps }: FilmImage, step: number): number | undefined =>
  steps.findLast((one) => one <= step) ?? steps[0];

/** How far the training was, in words. */
export const afterSteps = (step: number): string =>
  step === 0 ? 'Before training' : `After ${counted(step, 'step')}`;

export const useFrameStore = (): FrameStore => useRef(new FrameStore()).current;

export const addressOf = (run: string, image: string, what: 'picture' | 'original'): string =>
  `/api/runs/${encodeURIComponent(run)}/watch/${encodeURIComponent(image)}/${what}`;

function loadImage(address: string): Promise<HTMLImageElement> {
  const picture = new Image();
  return new Promise((resolve, reject) => {
    picture.onload = () => resolve(picture);
    picture.onerror = () => reject(new Error('The picture can’t be read.'));
    picture.src = address;
  });
}

export type Shown = Pick<Painting, 'picture' | 'part'>;

/** The original, as large as it is shown here; where it is gone, the picture that the model sees. */
async function loadShown(run: string, { name, original, width, height }: FilmImage): Promise<Shown> {
  if (original !== null) {
    const picture = await loadImage(addressOf(run, name, 'original')).catch(() => null);
    const part = [
      original[0] * (picture?.naturalWidth ?? 0),
      original[1] * (picture?.naturalHeight ?? 0),
    ] as const;
    // another image may have the file's name by now
    const isAlike = Math.abs(Math.log((part[0] * height) / (part[1] * width))) < 0.1;
    if (picture !== null && isAlike) return { picture, part };
  }
  return { picture: await loadImage(addressOf(run, name, 'picture')) };
}

/** Pictures by image, or why there is none; null until those of all images have come. */
export function usePictures(
  run: string | undefined,
  images: readonly FilmImage[],
): ReadonlyMap<string, Shown | { problem: string }> | null {
  const names = images.map(({ name }) => name).join('\n');
  const question = useMemo(() => ({ run, images }), [run, names]);
  const load = async ({ run: id, images: wanted }: typeof question) =>
    new Map(
      await Promise.all(
        wanted.map(async (image) => {
          const shown = await loadShown(id ?? '', image).catch((error: Error) => ({
            problem: error.message,
          }));
          return [image.name, shown] as const;
        }),
      ),
    );
  const { answer } = useAnswer(load, images.length === 0 ? null : question, { keep: true });
  return answer !== null && images.every(({ name }) => answer.has(name)) ? answer : null;
}
