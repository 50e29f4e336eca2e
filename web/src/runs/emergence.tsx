/**
 * What the watched images' attention becomes while a run learns: for each image the original, before training, and now, under
 * one scrubber that also moves the mark in the curves. Of several runs, their attention at the same step.
 */
import { useEffect, useMemo, useState } from 'preact/hooks';
import { massMask } from '../../../src/plain/maps.ts';
import type { FilmImage } from '../api.ts';
import { drawnOfAddress, numberOf } from '../attention/choices.ts';
import { headName, HeadStrip, mapOf } from '../attention/heads.tsx';
import { MapCanvas, PictureCanvas } from '../attention/map-canvas.tsx';
import { MapView } from '../attention/map-view.tsx';
import type { Painting } from '../attention/paint.ts';
import { type Drawn, MapSliders } from '../attention/sliders.tsx';
import type { Curves } from '../charts/curves.ts';
import { keyClass } from '../charts/plot.ts';
import { route, setQuery } from '../router.ts';
import { counted } from '../ui/format.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { useAnswer } from '../use-answer.ts';
import { FilmControls, type Saving } from './film-controls.tsx';
import {
  afterSteps,
  type Frame,
  type Frames,
  type Shown,
  stepAt,
  stepsOf,
  useFrameStore,
  usePictures,
  useWatched,
  type Wanted,
  type Watched,
} from './film-data.ts';
import { saveFile } from '../ui/save-file.ts';
import type { FilmOptions } from './film-frames.ts';
import { frameMs, usePlayer } from './player.ts';
import type { ShownRun } from './traces.ts';
import { makeVideo, videoKind } from './video.ts';

/** Frames after the one that is shown are fetched before they are needed. */
const AHEAD = 4;
/** Longer side of a picture in the strip, CSS pixels: for how sharp it is drawn. */
const CELL = 260;

/** One of the maps of an image. */
interface Cell {
  title: string;
  /** Number of its run's colour; null where there is one run. */
  color: number | null;
  /** null: not there, or not yet. */
  frame: Frame | { problem: string } | null;
}

/** The runs' images of the same file. */
const sameOf = (image: FilmImage, images: readonly FilmImage[] = []): FilmImage | undefined =>
  images.find(({ name }) => name === image.name) ?? images.find(({ source }) => source === image.source);

/** What is needed to show `images` after `step`. */
function wantedAt(
  watched: Watched,
  images: readonly FilmImage[],
  step: number,
  hasBefore: boolean,
): Wanted[] {
  const found = new Map<string, Wanted>();
  for (const [run, own] of watched)
    for (const image of images) {
      const same = sameOf(image, own);
      if (same === undefined) continue;
      for (const one of hasBefore ? [step, 0] : [step]) {
        const at = stepAt(same, one);
        if (at === undefined) continue;
        const recorded = own.filter(({ steps }) => steps.includes(at)).length;
        found.set(`${run} ${at}`, { run, step: at, images: recorded });
      }
    }
  return [...found.values()];
}

interface Loaded {
  step: number;
  /** By run and step. */
  frames: ReadonlyMap<string, Frames>;
}

const isFrame = (frame: Cell['frame']): frame is Frame => frame !== null && 'maps' in frame;

function paintingOf(picture: Shown, frame: Frame, { head, style, overlay, mass }: Drawn): Painting {
  const map = mapOf(frame, Math.min(head, frame.heads));
  const mask = mass < 1 ? massMask(map, mass) : null;
  return { ...picture, rows: frame.rows, columns: frame.columns, map, style, overlay, mask };
}

function CellView({ cell, picture, drawn }: { cell: Cell; picture: Shown; drawn: Drawn }) {
  const { title, color, frame } = cell;
  return (
    <span class="cell">
      {isFrame(frame) ? (
        <MapCanvas painting={paintingOf(picture, frame, drawn)} size={CELL} aria-hidden="true" />
      ) : (
        <span class="empty note">{frame === null ? 'not recorded' : 'damaged'}</span>
      )}
      <span class={color === null ? 'note' : `note ${keyClass(color)}`}>{title}</span>
    </span>
  );
}

interface StripProps {
  image: FilmImage;
  picture: Shown | { problem: string };
  cells: readonly Cell[];
  drawn: Drawn;
  isOpen: boolean;
  onOpen: () => void;
}

function Strip({ image, picture, cells, drawn, isOpen, onOpen }: StripProps) {
  if ('problem' in picture) return <Failure error={new Error(`${image.source}: ${picture.problem}`)} />;
  const problems = cells.flatMap(({ frame }) =>
    frame !== null && 'problem' in frame ? [frame.problem] : [],
  );
  return (
    <>
      <button type="button" class="strip-image" aria-pressed={isOpen} title={image.source} onClick={onOpen}>
        <span class="hidden">
          {isOpen ? 'Close' : 'Enlarge'} {image.source}:
        </span>
        <span class="cell">
          <PictureCanvas
            {...picture}
            rows={image.rows}
            columns={image.columns}
            size={CELL}
            aria-hidden="true"
          />
          <span class="note">Original</span>
        </span>
        {cells.map((cell, i) => (
          <CellView key={i} {...{ cell, picture, drawn }} />
        ))}
      </button>
      {problems.map((problem) => (
        <Failure key={problem} error={new Error(problem)} />
      ))}
    </>
  );
}

/** One image, large, with every head. */
function Large({ image, picture, cells, drawn }: Omit<StripProps, 'isOpen' | 'onOpen'>) {
  const frames = cells.flatMap(({ frame, title }) => (isFrame(frame) ? [{ frame, title }] : []));
  // of one run what is now; of several all of them
  const shown = cells.some(({ color }) => color !== null) ? frames : frames.slice(-1);
  const last = frames.at(-1)?.frame;
  if ('problem' in picture || last === undefined) return null;
  return (
    <div class="map-layout">
      {shown.map(({ frame, title }) => (
        <MapView
          key={title}
          {...picture}
          rows={frame.rows}
          columns={frame.columns}
          map={{ kind: 'attention', values: mapOf(frame, Math.min(drawn.head, frame.heads)) }}
          {...{ overlay: drawn.overlay, style: drawn.style, mass: drawn.mass }}
          size={shown.length > 1 ? 440 : 560}
          label={`Attention, ${headName(drawn.head)}, for ${image.source}: ${title}`}
        />
      ))}
      <div class="map-side">
        <p class="note">
          {image.source}, {image.rows} × {image.columns} patches. In each frame, colours range from its
          smallest to its largest value.
        </p>
        <div class="sliders">
          <MapSliders drawn={drawn} heads={last.heads} />
        </div>
        <HeadStrip
          shown={{ ...last, ...picture }}
          head={drawn.head}
          overlay={drawn.overlay}
          style={drawn.style}
          onChange={drawn.setHead}
        />
      </div>
    </div>
  );
}

/** The most steps of any training. */
const MOST_STEPS = 1e9;

const isStill = (): boolean => matchMedia('(prefers-reduced-motion: reduce)').matches;

export function Emergence({ shown, curves }: { shown: readonly ShownRun[]; curves: Curves }) {
  const ids = shown.map(({ run }) => run.id);
  const isLive = shown.some(({ run }) => ['preparing', 'running'].includes(run.state));
  const { answer: watched, error } = useWatched(ids, isLive);
  const images = useMemo(
    () =>
      watched === null ? [] : (ids.map((id) => watched.get(id) ?? []).find(({ length }) => length > 0) ?? []),
    [watched],
  );
  const steps = useMemo(() => (watched === null ? [] : stepsOf(watched)), [watched]);
  const pictureRun = ids.find((id) => (watched?.get(id)?.length ?? 0) > 0);
  const pictures = usePictures(pictureRun, images);
  const wanted = numberOf('step', 0, MOST_STEPS);
  const newest = steps.length - 1;
  const player = usePlayer(steps.length, !isLive && !isStill(), {
    at:
      wanted === null
        ? null
        : Math.max(
            0,
            steps.findLastIndex((one) => one <= wanted),
          ),
    // who looks at the newest of a training is shown those that come
    hold: (at) => setQuery('step', at === null || (isLive && at === newest) ? null : String(steps[at])),
  });
  const drawn = drawnOfAddress();
  const open = route.value.query.get('image');
  const [saving, setSaving] = useState<Saving | null>(null);
  const [saveError, setSaveError] = useState<unknown>(null);
  const step = steps[player.at];
  const isOne = ids.length === 1;

  const store = useFrameStore();
  const load = async (at: number): Promise<Loaded> => {
    const wanted = wantedAt(watched ?? new Map(), images, at, isOne);
    const frames = wanted.map(async (one) => [`${one.run} ${one.step}`, await store.get(one)] as const);
    return { step: at, frames: new Map(await Promise.all(frames)) };
  };
  const needed = step === undefined ? '' : JSON.stringify(wantedAt(watched!, images, step, isOne));
  const question = useMemo(() => (step === undefined ? null : { step }), [step, needed]);
  const { answer: loaded, error: frameError } = useAnswer(
    ({ step: at }: { step: number }) => load(at),
    question,
    {
      keep: true,
    },
  );
  useEffect(() => {
    for (const next of steps.slice(player.at + 1, player.at + 1 + AHEAD)) load(next).catch(() => undefined); // reported when it is shown
  }, [steps, player.at]);
  useEffect(() => {
    curves.marker.value = loaded?.step ?? null;
  }, [loaded]);
  useEffect(() => () => void (curves.marker.value = null), []);

  const cellsOf = (image: FilmImage, { step: at, frames }: Loaded): Cell[] => {
    const frameOf = (run: string, wanted: number) => {
      const same = sameOf(image, watched?.get(run));
      const found = same === undefined ? undefined : stepAt(same, wanted);
      if (same === undefined || found === undefined) return { frame: null, found: wanted };
      return { frame: frames.get(`${run} ${found}`)?.get(same.name) ?? null, found };
    };
    if (!isOne)
      return shown.map(({ run, color }) => {
        const { frame, found } = frameOf(run.id, at);
        // a run whose checkpoints were written after other steps is shown at its last one before
        const when = frame === null || found === at ? '' : `, ${afterSteps(found).toLowerCase()}`;
        return { title: `${run.name}${when}`, color, frame };
      });
    const [before, now] = [frameOf(ids[0]!, 0), frameOf(ids[0]!, at)];
    return [
      { title: afterSteps(before.found), color: null, frame: before.frame },
      { title: afterSteps(now.found), color: null, frame: now.frame },
    ];
  };

  const video = useMemo(videoKind, []);
  const save = async (what: 'gif' | 'video'): Promise<void> => {
    setSaving({ what, done: 0, total: steps.length });
    setSaveError(null);
    try {
      const options: FilmOptions = {
        steps,
        titles: (at) => [
          'Original',
          ...(isOne ? [afterSteps(steps[0]!), afterSteps(at)] : shown.map(({ run }) => run.name)),
        ],
        rowsAt: async (at) => {
          const all = await load(at);
          return images.flatMap((image) => {
            const picture = pictures?.get(image.name);
            if (picture === undefined || 'problem' in picture) return [];
            const cells = cellsOf(image, all).map(({ frame }) =>
              isFrame(frame) ? paintingOf(picture, frame, drawn) : null,
            );
            return [{ rows: image.rows, columns: image.columns, picture, cells }];
          });
        },
        frameMs: frameMs(steps.length, player.speed),
        endMs: 1500,
        onProgress: (done, total) => setSaving({ what, done, total }),
      };
      const isVideo = what === 'video' && video !== null;
      const file = isVideo
        ? await makeVideo(video, options)
        : await (await import('./gif.ts')).makeGif(options);
      const names = shown.map(({ run }) => run.name.replace(/[^\p{L}\p{N}._-]+/gu, '-'));
      saveFile(file, `${names.join('-and-')}-attention.${isVideo ? video.extension : 'gif'}`);
    } catch (problem) {
      setSaveError(problem);
    }
    setSaving(null);
  };

  const opened = images.find(({ name }) => name === open);
  const openedPicture = opened === undefined ? undefined : pictures?.get(opened.name);
  const isReady = pictures !== null && loaded !== null;
  return (
    <section class="card film" aria-labelledby="film" data-step={loaded?.step}>
      <h2 id="film">
        {isOne ? 'What it attends to while it learns' : 'What they attend to after the same steps'}
      </h2>
      {error !== null && <Failure error={error} />}
      {watched === null && error === null && <Loading what="watched images" />}
      {watched !== null && images.length === 0 && (
        <p class="note">
          {isOne ? 'This run does not' : 'These runs do not'} watch any images:{' '}
          <code>dino train … --watch-images cat.jpg</code> records their attention at every checkpoint.
        </p>
      )}
      {images.length > 0 && step === undefined && <p class="note">No checkpoint has been written yet.</p>}
      {frameError !== null && <Failure error={frameError} />}
      {images.length > 0 && step !== undefined && !isReady && frameError === null && (
        <Loading what="the film" />
      )}
      {isReady && step !== undefined && (
        <>
          <ul class="strips" aria-label="Watched images">
            {images.map((image) => (
              <li key={image.name}>
                <Strip
                  {...{ image, drawn }}
                  picture={pictures.get(image.name)!}
                  cells={cellsOf(image, loaded)}
                  isOpen={image.name === open}
                  onOpen={() => setQuery('image', image.name === open ? null : image.name)}
                />
              </li>
            ))}
          </ul>
          <FilmControls
            {...{ player, saving, video }}
            count={steps.length}
            text={afterSteps(step)}
            onSave={(what) => void save(what)}
          />
          {saveError !== null && <Failure error={saveError} />}
          {opened !== undefined && openedPicture !== undefined ? (
            <Large image={opened} picture={openedPicture} cells={cellsOf(opened, loaded)} drawn={drawn} />
          ) : (
            <details class="how">
              <summary>How it is drawn</summary>
              <div class="sliders">
                <MapSliders drawn={drawn} heads={headsOf(loaded)} />
              </div>
            </details>
          )}
          <p class="note">
            {counted(steps.length, 'checkpoint')} of the teacher, last block. Click an image to enlarge it.
          </p>
        </>
      )}
    </section>
  );
}

const headsOf = ({ frames }: Loaded): number =>
  Math.max(
    0,
    ...[...frames.values()].flatMap((some) =>
      [...some.values()].map((one) => ('heads' in one ? one.heads : 0)),
    ),
  );
