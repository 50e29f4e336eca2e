/** An image, what each head attends to, what is like a patch of it, and its neighbours; all computed in this page. */
import { useCallback, useEffect, useMemo, useState } from 'preact/hooks';
import { largest, likeness, massMask, meanMap } from '../../../src/explain/maps.ts';
import type { GalleryImage, WebManifest } from '../../../src/weights/web/manifest.ts';
import {
  headName,
  HeadStrip,
  mapOf,
  MapSliders,
  percent,
  PickImage,
  useDrawn,
} from '../../src/attention/controls.tsx';
import { MapView } from '../../src/attention/map-view.tsx';
import { theme, type Theme } from '../../src/theme.ts';
import { type Engine, startEngine } from './engine.ts';
import type { Attended, Opened } from './protocol.ts';

/** Neighbours that are shown. */
const NEIGHBOURS = 12;
/** Gallery images to begin with. */
const SAMPLES = 12;

interface Gallery {
  images: readonly GalleryImage[];
  /** (count, D), rows of length 1. */
  features: Float32Array;
}

async function load<T>(name: string, read: (response: Response) => Promise<T>): Promise<T> {
  const response = await fetch(new URL(name, document.baseURI));
  if (!response.ok) throw new Error(`${name} can't be loaded: the server replied ${response.status}`);
  return read(response);
}

async function loadGallery({ gallery }: WebManifest): Promise<Gallery | null> {
  if (gallery === null) return null;
  const [images, bytes] = await Promise.all([
    load(gallery.images, (response) => response.json() as Promise<GalleryImage[]>),
    load(gallery.features, (response) => response.arrayBuffer()),
  ]);
  return { images, features: new Float32Array(bytes) };
}

const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
const millions = (count: number): string => `${(count / 1e6).toFixed(count < 1e6 ? 2 : 1)} M`;

function ThemeChoice() {
  return (
    <label class="theme">
      <span class="hidden">Colours</span>
      <select value={theme.value} onChange={(event) => (theme.value = event.currentTarget.value as Theme)}>
        <option value="auto">Auto</option>
        <option value="light">Light</option>
        <option value="dark">Dark</option>
      </select>
    </label>
  );
}

function pictureOf({ pixels, width, height }: Attended): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  canvas.getContext('2d')!.putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas;
}

function AttentionCard({
  shown,
  side,
  onSide,
  manifest,
}: {
  shown: Attended;
  side: number;
  onSide: (side: number) => void;
  manifest: WebManifest;
}) {
  const drawn = useDrawn();
  const { head, overlay, mass } = drawn;
  const [patch, setPatch] = useState<number | null>(null);
  const { rows, columns, heads, maps, patches } = shown;
  const picture = useMemo(() => pictureOf(shown), [shown]);
  const mean = useMemo(() => meanMap(maps, heads), [shown]);
  useEffect(() => setPatch(null), [shown]);
  const { patchSize, embedDim } = manifest.model;
  const isLike = patch !== null && patches !== null && patch < rows * columns;
  const map = useMemo(
    () =>
      isLike
        ? likeness(patches.subarray(patch * embedDim, (patch + 1) * embedDim), patches)
        : mapOf({ rows, columns, maps, mean }, head),
    [shown, head, patch],
  );
  const showHead = (value: number): void => {
    drawn.setHead(value);
    setPatch(null);
  };
  const mask = !isLike && mass < 1 ? massMask(map, mass) : null;
  const place = (i: number): string => `row ${Math.floor(i / columns) + 1}, column ${(i % columns) + 1}`;
  return (
    <section class="card" aria-label="Attention">
      <h2>{isLike ? `What is like the patch in ${place(patch)}` : `Attention, ${headName(head)}`}</h2>
      <div class="map-layout">
        <MapView
          picture={picture}
          rows={rows}
          columns={columns}
          map={map}
          overlay={overlay}
          mask={mask}
          marked={isLike ? patch : null}
          range={isLike ? [0, 1] : undefined}
          label={isLike ? `Likeness to the patch in ${place(patch)}` : `Attention of the ${headName(head)}`}
          onPick={patches === null ? undefined : setPatch}
          describe={(i) => `${place(i)}: ${isLike ? map[i]!.toFixed(3) : percent(map[i]!, 2)}`}
        />
        <div class="map-side">
          <div class="sliders">
            <MapSliders
              drawn={{ ...drawn, setHead: showHead }}
              heads={heads}
              resolution={{ side, patchSize, largest: Math.max(side, 60 * patchSize), onSide }}
            />
          </div>
          <p class="note" id="computed">
            {rows} × {columns} patches of {patchSize} pixels, computed in {Math.round(shown.milliseconds)} ms.
            {patches !== null && ' Click a patch to see what is like it.'}
          </p>
          {isLike && (
            <button type="button" onClick={() => setPatch(null)}>
              Back to attention
            </button>
          )}
        </div>
      </div>
      <h3>All heads</h3>
      <HeadStrip {...{ picture, rows, columns, heads, maps, mean, head, overlay }} onChange={showHead} />
    </section>
  );
}

function Pictures({
  gallery,
  shown,
  onImage,
}: {
  gallery: Gallery;
  shown: readonly { index: number; cosine: number | null }[];
  onImage: (image: Blob, index: number) => void;
}) {
  return (
    <ol class="gallery">
      {shown.map(({ index, cosine }) => {
        const image = gallery.images[index]!;
        return (
          <li key={index}>
            <button
              type="button"
              data-name={image.name}
              {...(cosine === null ? {} : { 'data-cosine': String(cosine) })}
              onClick={() => {
                void load(image.thumbnail, (response) => response.blob()).then((blob) =>
                  onImage(blob, index),
                );
              }}
            >
              <img src={image.thumbnail} width={image.width} height={image.height} alt="" loading="lazy" />
              {cosine !== null && <strong>{cosine.toFixed(3)}</strong>}
              {image.label !== null && <span>{image.label}: </span>}
              {image.name.split('/').at(-1)}
            </button>
          </li>
        );
      })}
    </ol>
  );
}

export function App() {
  const [manifest, setManifest] = useState<WebManifest | null>(null);
  const [gallery, setGallery] = useState<Gallery | null>(null);
  const [loaded, setLoaded] = useState(0);
  const [started, setStarted] = useState<{ engine: Engine; opened: Opened } | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  const [chosen, setChosen] = useState<{ image: Blob; name: string } | null>(null);
  const [side, setSide] = useState(0);
  const [shown, setShown] = useState<Attended | null>(null);
  const [neighbours, setNeighbours] = useState<{ index: number; cosine: number }[] | null>(null);
  const [busy, setBusy] = useState('');
  const [problem, setProblem] = useState<string | null>(null);

  useEffect(() => {
    const start = async (): Promise<void> => {
      const found = await load('model.json', (response) => response.json() as Promise<WebManifest>);
      setManifest(found);
      document.title = found.title;
      const { imgSize, patchSize } = found.model;
      // 480/224 of its own size as in the paper's pictures, within what a browser computes in a moment
      const usual = Math.min((imgSize * 480) / 224, 32 * patchSize);
      setSide(Math.max(4, Math.round(usual / patchSize)) * patchSize);
      setGallery(await loadGallery(found));
      const backend = new URLSearchParams(location.search).get('backend') === 'wasm' ? 'wasm' : 'auto';
      setStarted(await startEngine(found, backend, setLoaded));
    };
    start().catch((error: unknown) => setFailure(wordsOf(error)));
  }, []);

  const onImage = useCallback((image: File) => setChosen({ image, name: image.name }), []);

  useEffect(() => {
    if (started === null || chosen === null || manifest === null) return;
    const { engine } = started;
    let isCurrent = true;
    const compute = async (): Promise<void> => {
      setBusy('computing');
      setProblem(null);
      try {
        if (manifest.model.heads > 0) {
          const attended = await engine.ask('attend', { image: chosen.image, side });
          if (isCurrent) setShown(attended);
        }
      } catch (error) {
        if (isCurrent) {
          setProblem(`${chosen.name}: ${wordsOf(error)}`);
          setShown(null);
        }
      }
      if (isCurrent) setBusy('');
    };
    // a slider that is dragged asks once it rests
    const timer = setTimeout(() => void compute(), 150);
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, [started, chosen, side]);

  useEffect(() => {
    if (started === null || chosen === null || gallery === null) return;
    const { engine } = started;
    let isCurrent = true;
    setNeighbours(null);
    engine.ask('feature', { image: chosen.image }).then(
      (feature) => {
        if (!isCurrent) return;
        const cosines = likeness(feature, gallery.features);
        setNeighbours(largest(cosines, NEIGHBOURS).map((index) => ({ index, cosine: cosines[index]! })));
      },
      (error: unknown) => isCurrent && setProblem(`${chosen.name}: ${wordsOf(error)}`),
    );
    return () => {
      isCurrent = false;
    };
  }, [started, chosen, gallery]);

  const opened = started?.opened ?? null;
  const total = manifest?.model.bytes ?? 0;
  return (
    <>
      <header class="top">
        <h1>{manifest?.title ?? 'What a DINO model sees'}</h1>
        <ThemeChoice />
      </header>
      <main>
        {failure !== null && (
          <div class="failure" role="alert">
            <p>{failure}</p>
          </div>
        )}
        <section class="card">
          <p>
            Give an image: the model looks at it here, in this page. Nothing is sent anywhere.
            {manifest !== null &&
              ` The model: ${manifest.model.arch}, ${millions(manifest.model.parameters)} parameters, trained without labels.`}
          </p>
          <PickImage label="Choose an image" onImage={onImage} takesPaste />
          <p
            class="note"
            role="status"
            id="status"
            data-state={opened === null ? 'loading' : busy === '' ? 'ready' : 'busy'}
          >
            {opened === null
              ? failure === null &&
                `Loading the model: ${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`
              : busy !== ''
                ? 'Computing…'
                : `Ready. It computes with ${opened.backend}${opened.threads > 1 ? ` on ${opened.threads} threads` : ''}.`}
          </p>
          {opened === null && failure === null && total > 0 && (
            <progress aria-label="Loading the model" value={loaded} max={total} />
          )}
          {problem !== null && (
            <div class="failure" role="alert">
              <p>{problem}</p>
            </div>
          )}
        </section>
        {shown !== null && manifest !== null && (
          <AttentionCard shown={shown} side={side} onSide={setSide} manifest={manifest} />
        )}
        {manifest !== null && manifest.model.heads === 0 && (
          <p class="note">{manifest.model.arch} has no attention to draw.</p>
        )}
        {gallery !== null && neighbours !== null && (
          <section class="card" aria-label="Neighbours">
            <h2>Most like it, of {gallery.images.length} images</h2>
            <p class="note">
              By the cosine similarity of the model’s features, which have never seen a label.
            </p>
            <Pictures
              gallery={gallery}
              shown={neighbours}
              onImage={(image, index) => setChosen({ image, name: gallery.images[index]!.name })}
            />
          </section>
        )}
        {gallery !== null && chosen === null && (
          <section class="card" aria-label="Images to try">
            <h2>Images to try</h2>
            <Pictures
              gallery={gallery}
              shown={gallery.images.slice(0, SAMPLES).map((_, index) => ({ index, cosine: null }))}
              onImage={(image, index) => setChosen({ image, name: gallery.images[index]!.name })}
            />
          </section>
        )}
      </main>
    </>
  );
}
