/** What a model sees in one image or two: attention, similarity to a patch, or principal components as colours. */
import { useMemo, useState } from 'preact/hooks';
import { likeness } from '../../../src/plain/maps.ts';
import type { LookModel } from '../api.ts';
import { headName, HeadStrip, mapOf } from '../attention/heads.tsx';
import { MapView, type PatchMap, placeOf } from '../attention/map-view.tsx';
import { MapSliders, Slider, useDrawn } from '../attention/sliders.tsx';
import { route, setQuery } from '../router.ts';
import { count, percent } from '../ui/format.ts';
import { useAnswer } from '../use-answer.ts';
import type { Answer, Seen } from './answer.ts';

type View = PatchMap['kind'];
const VIEWS: Readonly<Record<View, string>> = {
  attention: 'Attention',
  likeness: 'Likeness',
  colors: 'Parts in colour',
};

/** A patch of one of the images. */
interface Place {
  image: number;
  patch: number;
}

interface SeenProps {
  answer: Answer;
  /** Requested length of the shorter side, pixels. */
  side: number;
  onSide: (side: number) => void;
  /** Of the run that the model is of, oldest first. */
  checkpoints: LookModel['checkpoints'];
  weights: string;
  onWeights: (weights: string) => void;
}

/** The view that the address asks for. */
function viewOfAddress(): View {
  const given = route.peek().query.get('view') ?? '';
  return Object.hasOwn(VIEWS, given) ? (given as View) : 'attention';
}

/** The pinned patch that the address asks for. */
function placeOfAddress(): Place | null {
  const found = /^([01])-(\d{1,5})$/.exec(route.peek().query.get('patch') ?? '');
  return found === null ? null : { image: Number(found[1]), patch: Number(found[2]) };
}

function loadOriginal(address: string): Promise<HTMLImageElement | null> {
  const image = new Image();
  return new Promise((resolve) => {
    image.onload = () => resolve(image);
    // what the browser can't show, the server may have read all the same
    image.onerror = () => resolve(null);
    image.src = address;
  });
}

/** The images as large as they are shown here, and the part of each that the patches cover. */
function useOriginals(images: readonly Seen[]): readonly Seen[] {
  const addresses = images.map(({ address }) => address).join('\n');
  const load = async (all: string) =>
    new Map(await Promise.all(all.split('\n').map(async (one) => [one, await loadOriginal(one)] as const)));
  const { answer } = useAnswer(load, addresses, { keep: true });
  return useMemo(
    () =>
      images.map((image): Seen => {
        const picture = answer?.get(image.address) ?? null;
        if (picture === null) return image;
        const [width, height] = image.original;
        const part = [width * picture.naturalWidth, height * picture.naturalHeight] as const;
        return { ...image, picture, part };
      }),
    [images, answer],
  );
}

export function SeenCard({ answer, side, onSide, checkpoints, weights, onWeights }: SeenProps) {
  const [view, setView] = useState<View>(viewOfAddress);
  const drawn = useDrawn();
  const { head, overlay, style, mass } = drawn;
  const [pinned, setPinned] = useState<Place | null>(placeOfAddress);
  /** The last patch under the pointer: leaving the image keeps it. */
  const [pointed, setPointed] = useState<Place>({ image: 0, patch: 0 });
  const [isScaled, setScaled] = useState(false);
  const [isMasked, setMasked] = useState(false);
  const { patchSize, embedDim, explained } = answer;
  const images = useOriginals(answer.images);
  const first = images[0]!;
  const hasFeatures = images.every(({ features }) => features !== null);
  const shown = hasFeatures ? view : 'attention';
  const place = pinned ?? pointed;
  const from = images[place.image] ?? first;
  // the picture has other patches at another size
  const patch = Math.min(place.patch, from.rows * from.columns - 1);
  const maps = useMemo((): PatchMap[] => {
    if (shown === 'colors')
      return images.map(({ colors, allColors }) => ({
        kind: 'colors',
        values: (isMasked ? colors : allColors)!,
      }));
    if (shown === 'attention')
      return images.map((image) => ({
        kind: 'attention',
        values: mapOf(image, Math.min(head, image.heads)),
      }));
    const query = from.features!.subarray(patch * embedDim, (patch + 1) * embedDim);
    return images.map((image) => ({
      kind: 'likeness',
      values: likeness(query, image.features!),
      patch: image === from ? patch : null,
      isScaled,
    }));
  }, [images, shown, head, from, patch, isScaled, isMasked]);
  const show = (next: View): void => {
    setView(next);
    setQuery('view', next === 'attention' ? null : next);
  };
  const pin = (next: Place | null): void => {
    setPinned(next);
    setQuery('patch', next === null ? null : `${next.image}-${next.patch}`);
  };
  const showHead = (value: number): void => {
    drawn.setHead(value);
    show('attention');
  };
  const titles: Record<View, string> = {
    attention: `Attention, ${headName(head)}`,
    likeness: `Likeness to the patch in ${placeOf(patch, from.columns)}${images.length > 1 ? ` of ${from.name}` : ''}`,
    colors: 'Parts in colour: principal components of the patches',
  };
  const hints: Record<View, string> = {
    attention: 'Click a patch to see what is like it.',
    likeness:
      pinned === null
        ? 'Move over the picture: what is like the patch under the pointer lights up. Click to pin it.'
        : 'Pinned. Click another patch to pin that one, or the same one again to let go.',
    colors: 'Patches of the same kind have the same colour.',
  };
  return (
    <section class="card" aria-label="What the model sees">
      <h2>{titles[shown]}</h2>
      <fieldset class="row views">
        <legend class="hidden">What is shown</legend>
        {(Object.keys(VIEWS) as View[]).map((one) => (
          <label key={one}>
            <input
              type="radio"
              name="view"
              checked={shown === one}
              disabled={!hasFeatures && one !== 'attention'}
              onChange={() => show(one)}
            />{' '}
            {VIEWS[one]}
          </label>
        ))}
      </fieldset>
      <div class="map-layout">
        {images.map(({ name, picture, part, rows, columns }, i) => (
          <figure key={i} class="seen">
            <MapView
              {...{ picture, part, rows, columns, overlay, style, mass, map: maps[i]! }}
              size={images.length > 1 ? 460 : 620}
              label={`${titles[shown]}: ${name}`}
              onPoint={(at) => {
                if (at !== null && shown === 'likeness' && pinned === null)
                  setPointed({ image: i, patch: at });
              }}
              onPick={
                hasFeatures
                  ? (chosen) => {
                      const isSame = shown === 'likeness' && pinned?.image === i && pinned.patch === chosen;
                      pin(isSame ? null : { image: i, patch: chosen });
                      show('likeness');
                    }
                  : undefined
              }
            />
            <figcaption class="note">
              {name}: {rows} × {columns} patches
            </figcaption>
          </figure>
        ))}
        <div class="map-side">
          <div class="sliders">
            {checkpoints.length > 1 && (
              <CheckpointSlider {...{ checkpoints, weights }} onChange={onWeights} />
            )}
            <MapSliders
              drawn={{ ...drawn, setHead: showHead }}
              heads={shown === 'attention' ? first.heads : 0}
              resolution={{ side, patchSize, largest: 64 * patchSize, onSide }}
            />
          </div>
          {shown === 'likeness' && (
            <p class="row">
              <label>
                <input
                  type="checkbox"
                  checked={isScaled}
                  onChange={(event) => setScaled(event.currentTarget.checked)}
                />{' '}
                Scale by image
              </label>
              {pinned !== null && (
                <button type="button" onClick={() => pin(null)}>
                  Let go of the patch
                </button>
              )}
            </p>
          )}
          {shown === 'colors' && (
            <p>
              <label>
                <input
                  type="checkbox"
                  checked={isMasked}
                  onChange={(event) => setMasked(event.currentTarget.checked)}
                />{' '}
                Only the foreground
              </label>
            </p>
          )}
          <p>
            {hasFeatures
              ? hints[shown]
              : 'This architecture only has attention: its patches have no features of their own.'}
          </p>
          <p class="note">
            {answer.arch}, patches of {patchSize} pixels; computed in {Math.round(answer.milliseconds)} ms.
            {shown === 'colors' &&
              ` The three colours hold ${explained.map((share) => percent(share)).join(', ')} of the patches’ variance.`}
          </p>
        </div>
      </div>
      <h3>All heads</h3>
      <HeadStrip
        shown={first}
        head={shown === 'attention' ? head : -1}
        {...{ overlay, style }}
        onChange={showHead}
      />
    </section>
  );
}

interface CheckpointSliderProps extends Pick<SeenProps, 'checkpoints' | 'weights'> {
  onChange: (weights: string) => void;
}

/** The same image through a run's checkpoints. */
function CheckpointSlider({ checkpoints, weights, onChange }: CheckpointSliderProps) {
  const last = checkpoints.length - 1;
  const found = checkpoints.findIndex(({ path }) => path === weights);
  const at = found === -1 ? last : found;
  return (
    <Slider
      label="Checkpoint"
      value={at}
      min={0}
      max={last}
      step={1}
      text={`step ${count(checkpoints[at]!.step)}`}
      onChange={(value) => onChange(checkpoints[value]!.path)}
    />
  );
}
