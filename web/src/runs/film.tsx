/** A run's watched images: their attention at every checkpoint, under a slider that plays. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { meanMap } from '../../../src/plain/maps.ts';
import { unpackArrays } from '../../../src/plain/packed.ts';
import { type FilmFrameFacts, type FilmImage, request } from '../api.ts';
import { headName, mapOf } from '../attention/heads.tsx';
import { MapView } from '../attention/map-view.tsx';
import { MapSliders, Slider, useDrawn } from '../attention/sliders.tsx';
import { Failure, Loading } from '../ui/parts.tsx';
import { useAnswer } from '../use-answer.ts';
import { useRequest } from '../use-request.ts';

/** How often the folder of a running training is checked for new frames. */
const POLL_MS = 2000;
/** A film's speed. */
const FRAME_MS = 250;

interface Frame extends FilmFrameFacts {
  maps: Float32Array;
  mean: Float32Array;
}

async function loadFrame(run: string, image: string, step: number): Promise<Frame> {
  const params = { run, image, step: String(step) };
  const bytes = await request('GET /api/runs/:run/watch/:image/frames/:step', { params });
  const { facts, arrays } = unpackArrays(bytes as Uint8Array<ArrayBuffer>);
  const known = facts as FilmFrameFacts;
  const maps = arrays[0] as Float32Array;
  return { ...known, maps, mean: meanMap(maps, known.heads) };
}

const pictureAddress = (run: string, image: string): string =>
  `/api/runs/${encodeURIComponent(run)}/watch/${encodeURIComponent(image)}/picture`;

function loadPicture(address: string): Promise<HTMLImageElement> {
  const picture = new Image();
  return new Promise((resolve, reject) => {
    picture.onload = () => resolve(picture);
    picture.onerror = () => reject(new Error('The picture can’t be read.'));
    picture.src = address;
  });
}

/** @param props.isLive - The training is running: new frames are looked for. */
export function Film({ run, isLive }: { run: string; isLive: boolean }) {
  const [name, setName] = useState<string | null>(null);
  const { answer: images, error } = useRequest(
    'GET /api/runs/:run/watch',
    { params: { run } },
    { every: isLive ? POLL_MS : undefined },
  );
  const image = images?.find((one) => one.name === name) ?? images?.[0];
  return (
    <section class="card film" aria-label="Attention while it learns">
      <h2>Attention while it learns</h2>
      {error !== null && <Failure error={error} />}
      {images === null && error === null && <Loading what="watched images" />}
      {images?.length === 0 && (
        <p class="note">
          This run does not watch any images: <code>dino train … --watch-images cat.jpg</code> keeps their
          attention at every checkpoint.
        </p>
      )}
      {images !== null && images.length > 1 && (
        <ul class="heads" aria-label="Watched images">
          {images.map((one) => (
            <li key={one.name}>
              <button type="button" aria-pressed={one === image} onClick={() => setName(one.name)}>
                <img src={pictureAddress(run, one.name)} alt="" width="84" />
                {one.source}
              </button>
            </li>
          ))}
        </ul>
      )}
      {image !== undefined && <FilmOf key={image.name} run={run} image={image} />}
    </section>
  );
}

/** Which checkpoint is shown, and whether they play; the newest one is followed by those that come later. */
function usePlayer(count: number) {
  const [at, setAt] = useState(count - 1);
  const [isPlaying, setPlaying] = useState(false);
  const last = count - 1;
  const known = useRef(count);
  useEffect(() => {
    if (at === known.current - 1) setAt(last);
    known.current = count;
  }, [count]);
  useEffect(() => {
    if (!isPlaying) return;
    const timer = setInterval(() => setAt((now) => Math.min(now + 1, last)), FRAME_MS);
    return () => clearInterval(timer);
  }, [isPlaying, count]);
  useEffect(() => {
    if (at >= last) setPlaying(false);
  }, [at]);
  const play = (): void => {
    if (!isPlaying && at >= last) setAt(0);
    setPlaying(!isPlaying);
  };
  const show = (value: number): void => {
    setPlaying(false);
    setAt(value);
  };
  return { at: Math.min(at, last), isPlaying, play, show };
}

/** Frames by their step, each asked for once. */
function useFrames(run: string, image: string): (step: number) => Promise<Frame> {
  const frames = useRef(new Map<number, Promise<Frame>>());
  return (step) => {
    let found = frames.current.get(step);
    if (found === undefined) {
      found = loadFrame(run, image, step);
      frames.current.set(step, found);
      found.catch(() => frames.current.delete(step)); // it may be there later
    }
    return found;
  };
}

function FilmOf({ run, image }: { run: string; image: FilmImage }) {
  const { steps, rows, columns } = image;
  const { at, isPlaying, play, show } = usePlayer(steps.length);
  const drawn = useDrawn();
  const { head, overlay, mass } = drawn;
  const frameOf = useFrames(run, image.name);
  const step = steps[at];
  const { answer: frame, error } = useAnswer(frameOf, step, { keep: true });
  const { answer: picture, error: pictureError } = useAnswer(loadPicture, pictureAddress(run, image.name));
  const next = steps[at + 1];
  useEffect(() => {
    if (next !== undefined) frameOf(next).catch(() => undefined); // reported when it is shown
  }, [next]);
  const values = useMemo(
    () => (frame === null ? null : mapOf(frame, Math.min(head, frame.heads))),
    [frame, head],
  );
  if (step === undefined) return <p class="note">No checkpoint has been written yet.</p>;
  if (pictureError !== null) return <Failure error={pictureError} />;
  return (
    <div class="map-layout" data-step={frame?.step}>
      {picture === null || frame === null || values === null ? (
        error === null && <Loading what="the frame" />
      ) : (
        <MapView
          {...{ picture, rows, columns, overlay, mass }}
          map={{ kind: 'attention', values }}
          label={`Attention, ${headName(head)}, for ${image.source} after ${frame.step} steps`}
        />
      )}
      <div class="map-side">
        {error !== null && <Failure error={error} />}
        <div class="sliders">
          <Slider
            label="Checkpoint"
            value={at}
            min={0}
            max={Math.max(0, steps.length - 1)}
            step={1}
            text={`step ${step}`}
            onChange={show}
          />
          <MapSliders drawn={drawn} heads={frame?.heads ?? 0} />
        </div>
        <p>
          <button type="button" class="main" onClick={play} disabled={steps.length < 2}>
            {isPlaying ? 'Pause' : 'Play'}
          </button>
        </p>
        <p class="note">
          {steps.length} checkpoints of the teacher, last block. In each frame, colours go from the smallest
          to the largest value.
        </p>
      </div>
    </div>
  );
}
