/** What each head attends to in an image, or which patches are similar to one of them. */
import { useEffect, useMemo, useState } from 'preact/hooks';
import { likeness, meanMap } from '../../../src/plain/maps.ts';
import type { WebManifest } from '../../../src/plain/web-manifest.ts';
import { headName, HeadStrip, mapOf } from '../../src/attention/heads.tsx';
import { MapView, type PatchMap, placeOf } from '../../src/attention/map-view.tsx';
import { canvasOf } from '../../src/attention/pixels.ts';
import { MapSliders, useDrawn } from '../../src/attention/sliders.tsx';
import type { Attended } from './protocol.ts';

interface AttentionCardProps {
  attended: Attended;
  /** Requested length of the shorter side, pixels. */
  side: number;
  onSide: (side: number) => void;
  manifest: WebManifest;
}

export function AttentionCard({ attended, side, onSide, manifest }: AttentionCardProps) {
  const drawn = useDrawn();
  const { head, overlay, style, mass } = drawn;
  const [picked, setPatch] = useState<number | null>(null);
  const { rows, columns, heads, maps, patches, pixels, width, height } = attended;
  const shown = useMemo(() => {
    const picture = canvasOf(pixels, width, height);
    return { picture, rows, columns, heads, maps, mean: meanMap(maps, heads) };
  }, [attended]);
  useEffect(() => setPatch(null), [attended]);
  const { patchSize, embedDim } = manifest.model;
  const patch = picked !== null && picked < rows * columns ? picked : null;
  const map = useMemo((): PatchMap => {
    if (patch === null || patches === null) return { kind: 'attention', values: mapOf(shown, head) };
    const query = patches.subarray(patch * embedDim, (patch + 1) * embedDim);
    return { kind: 'likeness', values: likeness(query, patches), patch };
  }, [attended, head, patch]);
  const showHead = (value: number): void => {
    drawn.setHead(value);
    setPatch(null);
  };
  const title =
    map.kind === 'likeness'
      ? `Likeness to the patch in ${placeOf(patch!, columns)}`
      : `Attention, ${headName(head)}`;
  return (
    <section class="card" aria-label="Attention">
      <h2>{title}</h2>
      <div class="map-layout">
        <MapView
          {...{ picture: shown.picture, rows, columns, overlay, style, mass, map }}
          label={title}
          onPick={patches === null ? undefined : setPatch}
        />
        <div class="map-side">
          <div class="sliders">
            <MapSliders
              drawn={{ ...drawn, setHead: showHead }}
              heads={map.kind === 'attention' ? heads : 0}
              resolution={{ side, patchSize, largest: Math.max(side, 60 * patchSize), onSide }}
            />
          </div>
          <p class="note" id="computed">
            {rows} × {columns} patches of {patchSize} pixels, computed in {Math.round(attended.milliseconds)}{' '}
            ms.
            {patches !== null && ' Click a patch to see what is like it.'}
          </p>
          {map.kind === 'likeness' && (
            <button type="button" onClick={() => setPatch(null)}>
              Back to attention
            </button>
          )}
        </div>
      </div>
      <h3>All heads</h3>
      <HeadStrip shown={shown} head={head} {...{ overlay, style }} onChange={showHead} />
    </section>
  );
}
