/** An image, what each head attends to, which patches are similar, and its neighbours; all computed in this page. */
import { useMemo, useState } from 'preact/hooks';
import { transformFeature } from '../../../src/plain/feature-transform.ts';
import { largest, likeness } from '../../../src/plain/maps.ts';
import type { WebManifest } from '../../../src/plain/web-manifest.ts';
import { wordsOf } from '../../src/errors.ts';
import { Failure } from '../../src/ui/parts.tsx';
import { PickImage } from '../../src/ui/pick-image.tsx';
import { ThemeChoice } from '../../src/ui/theme-choice.tsx';
import { useAnswer } from '../../src/use-answer.ts';
import { AttentionCard } from './attention-card.tsx';
import { type Engine, startEngine } from './engine.ts';
import { type Gallery, loadGallery, Pictures, type Shown } from './gallery.tsx';
import { load } from './load.ts';
import type { Attended, Opened } from './protocol.ts';

/** Neighbours that are shown. */
const NEIGHBORS = 12;
/** Gallery images to begin with. */
const SAMPLES = 12;

/** The size that an image is computed at unless another is chosen: its shorter side, pixels. */
function usualSide({ model: { imgSize, patchSize } }: WebManifest): number {
  // 480/224 of its own size as in the paper's pictures, within what a browser computes in a moment
  const usual = Math.min((imgSize * 480) / 224, 32 * patchSize);
  return Math.max(4, Math.round(usual / patchSize)) * patchSize;
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
const millions = (count: number): string => `${(count / 1e6).toFixed(count < 1e6 ? 2 : 1)} M`;

/** An image that was given, or one of the gallery. */
interface Chosen {
  image: Blob;
  name: string;
}

/** An error of an image, which names it. */
const named = (name: string, error: unknown): Error => new Error(`${name}: ${wordsOf(error)}`);

/** What is loaded when the page is opened, one after the other; each part is shown as soon as it has arrived. */
function useModel() {
  const [manifest, setManifest] = useState<WebManifest | null>(null);
  const [gallery, setGallery] = useState<Gallery | null>(null);
  const [loaded, setLoaded] = useState(0);
  const start = async (): Promise<{ engine: Engine; opened: Opened }> => {
    const found = await load('model.json', (response) => response.json() as Promise<WebManifest>);
    setManifest(found);
    document.title = found.title;
    setGallery(await loadGallery(found));
    const backend = new URLSearchParams(location.search).get('backend') === 'wasm' ? 'wasm' : 'auto';
    return startEngine(found, backend, setLoaded);
  };
  const { answer: started, error } = useAnswer(start, 'start');
  return { manifest, gallery, loaded, started, error };
}

/** What the model's last block attends to in an image; nothing for a model without attention. */
function useAttention(engine: Engine | undefined, heads: number, chosen: Chosen | null, side: number) {
  const canAsk = engine !== undefined && chosen !== null && heads > 0;
  const question = useMemo(() => (canAsk ? { chosen, side } : null), [canAsk, chosen, side]);
  return useAnswer(
    async (asked: { chosen: Chosen; side: number }): Promise<Attended> => {
      const { image, name } = asked.chosen;
      return engine!.ask('attend', { image, side: asked.side }).catch((error: unknown) => {
        throw named(name, error);
      });
    },
    question,
    { keep: true, delay: 150 },
  );
}

/** The images of the gallery that are most similar to an image. */
function useNeighbors(engine: Engine | undefined, gallery: Gallery | null, chosen: Chosen | null) {
  const canAsk = engine !== undefined && gallery !== null;
  return useAnswer(
    async ({ image, name }: Chosen): Promise<Shown[]> => {
      const feature = await engine!.ask('feature', { image }).catch((error: unknown) => {
        throw named(name, error);
      });
      const cosines = likeness(transformFeature(gallery!.transform, feature), gallery!.features);
      return largest(cosines, NEIGHBORS).map((index) => ({ index, cosine: cosines[index]! }));
    },
    canAsk ? chosen : null,
  );
}

export function App() {
  const { manifest, gallery, loaded, started, error } = useModel();
  const [chosen, setChosen] = useState<Chosen | null>(null);
  const [wanted, setSide] = useState<number | null>(null);
  const side = wanted ?? (manifest === null ? 0 : usualSide(manifest));
  const attention = useAttention(started?.engine, manifest?.model.heads ?? 0, chosen, side);
  const neighbors = useNeighbors(started?.engine, gallery, chosen);
  const problem = attention.error ?? neighbors.error;
  const onImage = (image: Blob, name: string): void => setChosen({ image, name });

  const opened = started?.opened ?? null;
  const total = manifest?.model.bytes ?? 0;
  const state = opened === null ? 'loading' : attention.isBusy ? 'busy' : 'ready';
  const words = {
    loading: `Loading the model: ${megabytes(loaded)} of ${megabytes(total)} MB`,
    busy: 'Computing…',
    ready: `Ready. It computes with ${opened?.backend}${opened !== null && opened.threads > 1 ? ` on ${opened.threads} threads` : ''}.`,
  };
  return (
    <>
      <header class="top">
        <h1>{manifest?.title ?? 'What a DINO model sees'}</h1>
        <ThemeChoice />
      </header>
      <main>
        {error !== null && <Failure error={error} />}
        <section class="card">
          <p>
            Choose an image: the model looks at it here, in this page. Nothing is sent anywhere.
            {manifest !== null &&
              ` The model: ${manifest.model.arch}, ${millions(manifest.model.parameters)} parameters, trained without labels.`}
          </p>
          <PickImage label="Choose an image" onImage={(file) => onImage(file, file.name)} takesPaste />
          <p class="note" role="status" id="status" data-state={state}>
            {error === null && words[state]}
          </p>
          {opened === null && error === null && total > 0 && (
            <progress aria-label="Loading the model" value={loaded} max={total} />
          )}
          {problem !== null && <Failure error={problem} />}
        </section>
        {attention.answer !== null && attention.error === null && manifest !== null && (
          <AttentionCard attended={attention.answer} side={side} onSide={setSide} manifest={manifest} />
        )}
        {manifest !== null && manifest.model.heads === 0 && (
          <p class="note">{manifest.model.arch} has no attention to draw.</p>
        )}
        {gallery !== null && neighbors.answer !== null && (
          <section class="card" aria-label="Neighbours">
            <h2>The most similar of {gallery.images.length} images</h2>
            <p class="note">
              By the cosine similarity of the model’s features; the model has never seen a label.
            </p>
            <Pictures gallery={gallery} shown={neighbors.answer} onImage={onImage} />
          </section>
        )}
        {gallery !== null && chosen === null && (
          <section class="card" aria-label="Images to try">
            <h2>Images to try</h2>
            <Pictures
              gallery={gallery}
              shown={gallery.images.slice(0, SAMPLES).map((_, index) => ({ index, cosine: null }))}
              onImage={onImage}
            />
          </section>
        )}
      </main>
    </>
  );
}
