/**
 * What a model sees in one image or two: attention, similarity to a patch, or principal components as colours. The studio's
 * section Look and the exported page show it; what is chosen is in the address.
 */
import type { ComponentChildren } from 'preact';
import { useMemo, useRef, useState } from 'preact/hooks';
import { likeness } from '../../../src/plain/maps.ts';
import { count, lastPart, percent } from '../ui/format.ts';
import { tabId, Tabs } from '../ui/tabs.tsx';
import { useAnswer } from '../use-answer.ts';
import {
  drawnOfAddress,
  isOn,
  pinnedOfAddress,
  type Place,
  setSide,
  show,
  sideOfAddress,
  turn,
  type View,
  VIEWS,
  viewOfAddress,
} from './choices.ts';
import { type Attention, headName, HeadStrip, mapOf } from './heads.tsx';
import { MapView, type PatchMap, placeOf } from './map-view.tsx';
import { savePicture } from './save-picture.ts';
import { MapSliders } from './sliders.tsx';
import './seen.css';

/** An image, and what a model sees in it. */
export interface Seen extends Attention {
  name: string;
  /** (rows * columns, embedDim), of length 1; null where patches have none. */
  features: Float32Array | null;
  /** (rows, columns, 3): principal components of the foreground, black elsewhere; null without them, or not yet. */
  colors: Uint8Array | null;
  /** The same of all patches. */
  allColors: Uint8Array | null;
  /** Of the original's picture, and the shares of its sides that the patches cover. */
  address: string;
  original: readonly [width: number, height: number];
  /** The most patches, where these are why it is smaller than was asked for; else null. */
  limit: number | null;
  /** Its longer side was shortened: its proportions are not kept. */
  isSqueezed: boolean;
}

export interface SeenAnswer {
  images: readonly Seen[];
  arch: string;
  patchSize: number;
  /** Width of the features. */
  embedDim: number;
  /** Shares of the variance of all patches in the three colours; empty without colours. */
  explained: readonly number[];
  milliseconds: number;
}

interface SeenProps {
  answer: SeenAnswer;
  /** Requested length of the shorter side, and the longest that may be requested, pixels. */
  side: number;
  largest: number;
  onSide: (side: number) => void;
  /** More rows above the sliders. */
  children?: ComponentChildren;
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

const PANEL = 'seen-panel';

/** A switch that is kept in the address. */
function Switch({ name, label }: { name: string; label: string }) {
  return (
    <label>
      <input
        type="checkbox"
        checked={isOn(name)}
        onChange={(event) => turn(name, event.currentTarget.checked)}
      />{' '}
      {label}
    </label>
  );
}

/** Why a picture is not at the size that was asked for; empty where it is. */
function sizeNote({ rows, columns, limit, isSqueezed }: Seen, patchSize: number): string {
  if (isSqueezed)
    return `. It is too long for its proportions to be kept: its longer side is shortened to ${count(Math.max(rows, columns))} patches`;
  if (limit === null) return '';
  return `. It is computed at ${Math.min(rows, columns) * patchSize} pixels: larger, it would have more than ${count(limit)} patches`;
}

/** Below a failure: the way back from a size that was chosen, which the address keeps, to one that works. */
export function UsualSize() {
  if (sideOfAddress() === null) return null;
  return (
    <button type="button" onClick={() => setSide(null)}>
      Usual size
    </button>
  );
}

export function SeenCard({ answer, side, largest, onSide, children }: SeenProps) {
  const view = viewOfAddress();
  const drawn = drawnOfAddress();
  const { overlay, style, mass } = drawn;
  const pinned = pinnedOfAddress();
  /** The last patch under the pointer: leaving the image keeps it. */
  const [pointed, setPointed] = useState<Place>({ image: 0, patch: 0 });
  const isScaled = isOn('scaled');
  const isMasked = isOn('front');
  const { patchSize, embedDim, explained } = answer;
  const card = useRef<HTMLElement>(null);
  const images = useOriginals(answer.images);
  const first = images[0]!;
  const head = Math.min(drawn.head, first.heads);
  const hasFeatures = images.every(({ features }) => features !== null);
  const hasColors = images.every(({ colors, allColors }) => colors !== null && allColors !== null);
  const can: Record<View, boolean> = {
    attention: first.heads > 0,
    likeness: hasFeatures,
    colors: hasColors,
  };
  const shown = can[view] ? view : ((Object.keys(VIEWS) as View[]).find((one) => can[one]) ?? 'attention');
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
  const showHead = (value: number): void => {
    if (shown !== 'attention') show('attention');
    drawn.setHead(value);
  };
  const save = (): void => {
    const stem = images.map(({ name }) => lastPart(name).replace(/\.[^.]*$/, '')).join('-');
    const what = shown === 'attention' ? headName(head).replaceAll(' ', '-') : shown;
    savePicture(
      [...card.current!.querySelectorAll<HTMLCanvasElement>('.seen .map-view > canvas')],
      `${stem}-${what}`,
    );
  };
  const titles: Record<View, string> = {
    attention: `Attention, ${headName(head)}`,
    likeness: `Likeness to the patch in ${placeOf(patch, from.columns)}${images.length > 1 ? ` of ${from.name}` : ''}`,
    colors: 'Parts in colour: principal components of the patches',
  };
  const hints: Record<View, string> = {
    attention: 'Click a patch to see which others are similar to it.',
    likeness:
      pinned === null
        ? 'Move over the picture: patches similar to the one under the pointer light up. Click to pin it.'
        : 'Pinned. Click another patch to pin that one, or the same one again to unpin it.',
    colors: 'Patches of the same kind have the same colour.',
  };
  return (
    <section class="card" aria-label="What the model sees" ref={card}>
      <h2>{titles[shown]}</h2>
      <Tabs
        label="What is shown"
        tabs={VIEWS}
        current={shown}
        onChange={(one) => show(one)}
        panel={PANEL}
        isDisabled={(one) => !can[one]}
      />
      <div class="map-layout" id={PANEL} role="tabpanel" aria-labelledby={tabId(shown)}>
        {images.map((image, i) => {
          const { name, picture, part, rows, columns } = image;
          return (
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
                        show('likeness', isSame ? null : { image: i, patch: chosen });
                      }
                    : undefined
                }
              />
              <figcaption class="note">
                {name}: {rows} × {columns} {rows * columns === 1 ? 'patch' : 'patches'}
                {sizeNote(image, patchSize)}
              </figcaption>
            </figure>
          );
        })}
        <div class="map-side">
          <div class="sliders">
            {children}
            <MapSliders
              drawn={{ ...drawn, setHead: showHead }}
              heads={shown === 'attention' ? first.heads : 0}
              resolution={{ side, patchSize, largest, onSide }}
            />
          </div>
          {shown === 'likeness' && (
            <p class="row">
              <Switch name="scaled" label="Scale by image" />
              {pinned !== null && (
                <button type="button" onClick={() => show('likeness', null)}>
                  Unpin the patch
                </button>
              )}
            </p>
          )}
          {shown === 'colors' && (
            <p>
              <Switch name="front" label="Only the foreground" />
            </p>
          )}
          <p>
            {hasFeatures
              ? hints[shown]
              : 'Only attention can be shown of this architecture: its patches have no features of their own.'}
          </p>
          <p>
            <button type="button" onClick={save}>
              Save as PNG
            </button>
          </p>
          <p class="note" id="computed">
            {answer.arch}, patches of {patchSize} pixels; computed in{' '}
            {(answer.milliseconds / 1000).toFixed(2)} s.
            {shown === 'colors' &&
              ` The three colours account for ${explained.map((share) => percent(share)).join(', ')} of the patches’ variance.`}
          </p>
        </div>
      </div>
      {first.heads > 0 && (
        <>
          <h3>All heads</h3>
          <HeadStrip
            shown={first}
            head={shown === 'attention' ? head : -1}
            {...{ overlay, style }}
            onChange={showHead}
          />
        </>
      )}
    </section>
  );
}
