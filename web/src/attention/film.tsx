/** A run's watched images: their attention at every checkpoint, under a slider that plays. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { massMask, meanMap } from '../../../src/explain/maps.ts';
import { unpackArrays } from '../../../src/studio/packed.ts';
import { type FilmFrameFacts, type FilmImage, request } from '../api.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { headName, mapOf, MapSliders, percent, Slider, useDrawn } from './controls.tsx';
import { MapView } from './map-view.tsx';

/** How often a running training's folder is asked for new frames. */
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

/** The picture, once it is there; null before. */
function usePicture(address: string): { picture: HTMLImageElement | null; error: unknown } {
  const [state, setState] = useState<{ address: string; picture: HTMLImageElement | null; error: unknown }>({
    ...{ address, picture: null, error: null },
  });
  useEffect(() => {
    const picture = new Image();
    picture.onload = () => setState({ address, picture, error: null });
    picture.onerror = () =>
      setState({ address, picture: null, error: new Error('The picture can’t be read.') });
    picture.src = address;
  }, [address]);
  return state.address === address ? state : { picture: null, error: null };
}

/** @param props.isLive - The training goes on: frames come. */
export function Film({ run, isLive }: { run: string; isLive: boolean }) {
  const [images, setImages] = useState<FilmImage[] | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [name, setName] = useState<string | null>(null);
  useEffect(() => {
    let isCurrent = true;
    const load = (): void => {
      request('GET /api/runs/:run/watch', { params: { run } }).then(
        (found) => {
          if (!isCurrent) return;
          setImages(found);
          setError(null);
        },
        (reason: unknown) => isCurrent && setError(reason),
      );
    };
    load();
    const timer = isLive ? setInterval(load, POLL_MS) : undefined;
    return () => {
      isCurrent = false;
      clearInterval(timer);
    };
  }, [run, isLive]);
  const image = images?.find((one) => one.name === name) ?? images?.[0];
  return (
    <section class="card film" aria-label="Attention while it learns">
      <h2>Attention while it learns</h2>
      {error !== null && <Failure error={error} />}
      {images === null && error === null && <Loading what="watched images" />}
      {images?.length === 0 && (
        <p class="note">
          This run watches no images: <code>dino train … --watch-images cat.jpg</code> keeps their attention
          at every checkpoint.
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

function FilmOf({ run, image }: { run: string; image: FilmImage }) {
  const { steps, rows, columns } = image;
  const [at, setAt] = useState(steps.length - 1);
  const [isPlaying, setPlaying] = useState(false);
  const drawn = useDrawn();
  const { head, overlay, mass } = drawn;
  const [frame, setFrame] = useState<Frame | null>(null);
  const [error, setError] = useState<unknown>(null);
  const frames = useRef(new Map<number, Promise<Frame>>());
  const { picture, error: pictureError } = usePicture(pictureAddress(run, image.name));

  // who looks at the newest frame goes on to what comes
  const known = useRef(steps.length);
  useEffect(() => {
    if (at === known.current - 1) setAt(steps.length - 1);
    known.current = steps.length;
  }, [steps.length]);

  const step = steps[Math.min(at, steps.length - 1)];
  const frameOf = (wanted: number): Promise<Frame> => {
    let found = frames.current.get(wanted);
    if (found === undefined) {
      found = loadFrame(run, image.name, wanted);
      frames.current.set(wanted, found);
      found.catch(() => frames.current.delete(wanted)); // it may be there later
    }
    return found;
  };
  useEffect(() => {
    if (step === undefined) return;
    let isCurrent = true;
    frameOf(step).then(
      (found) => {
        if (!isCurrent) return;
        setFrame(found);
        setError(null);
      },
      (reason: unknown) => isCurrent && setError(reason),
    );
    const next = steps[at + 1];
    if (next !== undefined) frameOf(next).catch(() => undefined); // told when it is shown
    return () => {
      isCurrent = false;
    };
  }, [step]);

  useEffect(() => {
    if (!isPlaying) return;
    const timer = setInterval(() => setAt((now) => Math.min(now + 1, steps.length - 1)), FRAME_MS);
    return () => clearInterval(timer);
  }, [isPlaying, steps.length]);
  useEffect(() => {
    if (at >= steps.length - 1) setPlaying(false);
  }, [at]);

  const map = useMemo(
    () => (frame === null ? null : mapOf(frame, Math.min(head, frame.heads))),
    [frame, head],
  );
  if (step === undefined) return <p class="note">No checkpoint has been written yet.</p>;
  if (pictureError !== null) return <Failure error={pictureError} />;
  const play = (): void => {
    if (!isPlaying && at >= steps.length - 1) setAt(0);
    setPlaying(!isPlaying);
  };
  return (
    <div class="map-layout" data-step={frame?.step}>
      {picture === null || frame === null || map === null ? (
        error === null && <Loading what="the frame" />
      ) : (
        <MapView
          {...{ picture, rows, columns, map, overlay }}
          mask={mass < 1 ? massMask(map, mass) : null}
          label={`Attention of the ${headName(head)} for ${image.source} after ${frame.step} steps`}
          describe={(i) =>
            `row ${Math.floor(i / columns) + 1}, column ${(i % columns) + 1}: ${percent(map[i]!, 2)}`
          }
        />
      )}
      <div class="map-side">
        {error !== null && <Failure error={error} />}
        <div class="sliders">
          <Slider
            label="Checkpoint"
            value={Math.min(at, steps.length - 1)}
            min={0}
            max={Math.max(0, steps.length - 1)}
            step={1}
            text={`step ${step}`}
            onChange={(value) => {
              setPlaying(false);
              setAt(value);
            }}
          />
          <MapSliders drawn={drawn} heads={frame?.heads ?? 0} />
        </div>
        <p>
          <button type="button" class="main" onClick={play} disabled={steps.length < 2}>
            {isPlaying ? 'Pause' : 'Play'}
          </button>
        </p>
        <p class="note">
          {steps.length} checkpoints of the teacher, last block. Colours go from the smallest to the largest
          value of each frame.
        </p>
      </div>
    </div>
  );
}
