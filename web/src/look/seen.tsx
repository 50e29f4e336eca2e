/** What a model sees in one image or two: attention, similarity to a patch, or principal components as colours. */
import { useMemo, useState } from 'preact/hooks';
import { likeness } from '../../../src/plain/maps.ts';
import { headName, HeadStrip, mapOf } from '../attention/heads.tsx';
import { MapView, type PatchMap, placeOf } from '../attention/map-view.tsx';
import { MapSliders, useDrawn } from '../attention/sliders.tsx';
import { percent } from '../ui/format.ts';
import type { Answer } from './answer.ts';

type View = PatchMap['kind'];
const VIEWS: Readonly<Record<View, string>> = {
  attention: 'Attention',
  likeness: 'Likeness to a patch',
  colors: 'Colours',
};

interface SeenProps {
  answer: Answer;
  /** Requested length of the shorter side, pixels. */
  side: number;
  onSide: (side: number) => void;
}

export function SeenCard({ answer, side, onSide }: SeenProps) {
  const [view, setView] = useState<View>('attention');
  const drawn = useDrawn();
  const { head, overlay, mass } = drawn;
  const [picked, setPicked] = useState<{ image: number; patch: number }>({ image: 0, patch: 0 });
  const { images, patchSize, embedDim, explained } = answer;
  const first = images[0]!;
  const hasFeatures = images.every(({ features }) => features !== null);
  const shown = hasFeatures ? view : 'attention';
  const from = images[picked.image] ?? first;
  // the picture has other patches at another size
  const patch = Math.min(picked.patch, from.rows * from.columns - 1);
  const maps = useMemo((): PatchMap[] => {
    if (shown === 'colors') return images.map(({ colors }) => ({ kind: 'colors', values: colors! }));
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
    }));
  }, [answer, shown, head, picked]);
  const showHead = (value: number): void => {
    drawn.setHead(value);
    setView('attention');
  };
  const titles: Record<View, string> = {
    attention: `Attention, ${headName(head)}`,
    likeness: `Likeness to the patch in ${placeOf(patch, from.columns)}${images.length > 1 ? ` of ${from.name}` : ''}`,
    colors: 'Principal components as colours',
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
              onChange={() => setView(one)}
            />{' '}
            {VIEWS[one]}
          </label>
        ))}
      </fieldset>
      <div class="map-layout">
        {images.map(({ name, picture, rows, columns }, i) => (
          <figure key={i} class="seen">
            <MapView
              {...{ picture, rows, columns, overlay, mass, map: maps[i]! }}
              size={images.length > 1 ? 400 : 480}
              label={`${titles[shown]}: ${name}`}
              onPick={
                hasFeatures
                  ? (chosen) => {
                      setPicked({ image: i, patch: chosen });
                      setView('likeness');
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
            <MapSliders
              drawn={{ ...drawn, setHead: showHead }}
              heads={first.heads}
              resolution={{ side, patchSize, largest: 64 * patchSize, onSide }}
            />
          </div>
          <p class="note">
            {answer.arch}, patches of {patchSize} pixels; computed in {Math.round(answer.milliseconds)} ms.{' '}
            {hasFeatures
              ? 'Click a patch to see what is like it.'
              : 'This architecture only has attention: its patches have no features of their own.'}
            {explained.length > 0 &&
              ` The colours hold ${explained.map((share) => percent(share)).join(', ')} of the patches’ variance.`}
          </p>
        </div>
      </div>
      <h3>All heads</h3>
      <HeadStrip
        shown={first}
        head={shown === 'attention' ? head : -1}
        overlay={overlay}
        onChange={showHead}
      />
    </section>
  );
}
