/** An image, what the model sees in it, its label, and its neighbours; all computed in this page. */
import { useMemo, useState } from 'preact/hooks';
import { MAX_DEFAULT_PATCHES, MAX_PATCHES } from '../../../src/plain/attention-size.ts';
import { transformFeature } from '../../../src/plain/feature-transform.ts';
import { largest, likeness, meanMap } from '../../../src/plain/maps.ts';
import type { WebManifest } from '../../../src/plain/web-manifest.ts';
import { setSide, sideOfAddress } from '../../src/attention/choices.ts';
import { canvasOf } from '../../src/attention/pixels.ts';
import { SeenCard, type SeenAnswer, UsualSize } from '../../src/attention/seen.tsx';
import { href } from '../../src/router.ts';
import { count } from '../../src/ui/format.ts';
import { Failure } from '../../src/ui/parts.tsx';
import { PickImage } from '../../src/ui/pick-image.tsx';
import { ThemeChoice } from '../../src/ui/theme-choice.tsx';
import { useAnswer } from '../../src/use-answer.ts';
import { chooseFile, chooseRow, type Chosen, named, useChosen } from './chosen.ts';
import { type Classifier, LabelCard, labelsOf, loadClassifier } from './classifier.tsx';
import { type Engine, startEngine } from './engine.ts';
import { type Gallery, loadGallery, type Neighbour, Neighbours, Samples } from './gallery.tsx';
import { load } from './load.ts';
import type { Attended, FeatureKind } from './protocol.ts';

/** Neighbours that are shown. */
const NEIGHBORS = 12;
/** The most patches along the shorter side. */
const MOST_PATCHES = 60;

/** The size that an image is computed at unless another is chosen: its shorter side, pixels. */
function usualSide({ model: { imgSize, patchSize } }: WebManifest): number {
  // 480/224 of its own size as in the paper's pictures, within what a browser computes in a moment
  const usual = Math.min((imgSize * 480) / 224, 32 * patchSize);
  return Math.max(4, Math.round(usual / patchSize)) * patchSize;
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
const millions = (value: number): string => `${(value / 1e6).toFixed(value < 1e6 ? 2 : 1)} M`;

/** What is loaded before the model. */
interface Parts {
  manifest: WebManifest;
  gallery: Gallery | null;
  classifier: Classifier | null;
}

function useParts() {
  return useAnswer(async (): Promise<Parts> => {
    const manifest = await load('model.json', (response) => response.json() as Promise<WebManifest>);
    document.title = manifest.title;
    const [gallery, classifier] = await Promise.all([loadGallery(manifest), loadClassifier(manifest)]);
    return { manifest, gallery, classifier };
  }, 'start');
}

/** The model, once it has come. */
function useEngine(parts: Parts | null) {
  const [loaded, setLoaded] = useState(0);
  const start = ({ manifest }: Parts) => {
    const backend = new URLSearchParams(location.search).get('backend') === 'wasm' ? 'wasm' : 'auto';
    return startEngine(manifest, backend, setLoaded);
  };
  return { loaded, ...useAnswer(start, parts) };
}

const canBeSeen = ({ model }: WebManifest): boolean => model.heads > 0 || model.outputs.patches !== null;

interface Asked {
  chosen: Chosen;
  side: number;
  maxPatches: number;
}

/** What the model sees in an image. */
function useAttended(engine: Engine | undefined, parts: Parts | null, chosen: Chosen | null, side: number) {
  const canAsk = engine !== undefined && chosen !== null && parts !== null && canBeSeen(parts.manifest);
  // as everywhere, there are fewer patches where no size was chosen
  const maxPatches = sideOfAddress() === null ? MAX_DEFAULT_PATCHES : MAX_PATCHES;
  const question = useMemo(
    () => (canAsk ? { chosen, side, maxPatches } : null),
    [canAsk, chosen, side, maxPatches],
  );
  return useAnswer(
    async (asked: Asked): Promise<{ attended: Attended; chosen: Chosen }> => {
      const { image, name } = asked.chosen;
      const size = { side: asked.side, maxPatches: asked.maxPatches };
      const attended = await engine!.ask('attend', { image, ...size }).catch((error: unknown) => {
        throw named(name, error);
      });
      return { attended, chosen: asked.chosen };
    },
    question,
    { keep: true, delay: 150 },
  );
}

/** The same, ready to be drawn; its colours follow. */
function useSeen(engine: Engine | undefined, parts: Parts | null, chosen: Chosen | null, side: number) {
  const { answer, error, isBusy } = useAttended(engine, parts, chosen, side);
  const found = useAnswer(
    ({ attended }: { attended: Attended }) => engine!.ask('colours', { id: attended.id }),
    answer,
  );
  const drawn = useMemo(() => {
    if (answer === null) return null;
    const { pixels, width, height, rows, columns, heads, maps, patches, original, limit, isSqueezed } =
      answer.attended;
    const { name, address } = answer.chosen;
    const picture = canvasOf(pixels, width, height);
    const mean = meanMap(maps, heads);
    const size = { rows, columns, original, limit, isSqueezed };
    return { picture, ...size, heads, maps, mean, features: patches, name, address };
  }, [answer]);
  const colours = found.answer;
  const seen = useMemo((): SeenAnswer | null => {
    if (drawn === null) return null;
    const { arch, patchSize, embedDim } = parts!.manifest.model;
    const image = { ...drawn, colors: colours?.colours ?? null, allColors: colours?.allColours ?? null };
    const { milliseconds } = answer!.attended;
    return {
      ...{ arch, patchSize, embedDim, milliseconds },
      images: [image],
      explained: colours?.explained ?? [],
    };
  }, [drawn, colours]);
  return { seen, error: error ?? found.error, isBusy };
}

const sameKind = (a: FeatureKind, b: FeatureKind): boolean =>
  a.features === b.features && a.sizes.resize === b.sizes.resize && a.sizes.crop === b.sizes.crop;

/** The images of the gallery that are most similar to an image, and its labels. */
function useFound(engine: Engine | undefined, parts: Parts | null, chosen: Chosen | null) {
  const isWanted = parts !== null && (parts.gallery !== null || parts.classifier !== null);
  return useAnswer(
    async ({ image, name, row }: Chosen) => {
      const { manifest, gallery, classifier } = parts!;
      const ask = (kind: FeatureKind): Promise<Float32Array> =>
        engine!.ask('feature', { image, kind }).catch((error: unknown) => {
          throw named(name, error);
        });
      const usual: FeatureKind = { features: 'cls', sizes: manifest.sizes };
      const own = gallery === null ? null : await ask(usual);
      let neighbours: Neighbour[] | null = null;
      if (gallery !== null) {
        const cosines = likeness(transformFeature(gallery.transform, own!), gallery.features);
        neighbours = largest(cosines, NEIGHBORS + 1)
          .filter((one) => one !== row)
          .slice(0, NEIGHBORS)
          .map((one) => ({ row: one, cosine: cosines[one]! }));
      }
      if (classifier === null) return { neighbours, labels: null };
      const { about } = classifier;
      const feature = own !== null && sameKind(about, usual) ? own : await ask(about);
      return { neighbours, labels: labelsOf(classifier, feature) };
    },
    engine !== undefined && isWanted ? chosen : null,
  );
}

export function App() {
  const { answer: parts, error: partsError } = useParts();
  const { answer: started, error: startError, loaded } = useEngine(parts);
  const error = partsError ?? startError;
  const { manifest = null, gallery = null, classifier = null } = parts ?? {};
  const { chosen, error: imageError, isBusy: isChoosing, isGone } = useChosen(gallery);
  const side = sideOfAddress() ?? (manifest === null ? 0 : usualSide(manifest));
  const { seen, error: seenError, isBusy } = useSeen(started?.engine, parts, chosen, side);
  const found = useFound(started?.engine, parts, chosen);
  const problem = imageError ?? seenError ?? found.error;
  const opened = started?.opened ?? null;
  const total = manifest?.model.bytes ?? 0;
  const words = {
    loading: `Loading the model: ${megabytes(loaded)} of ${megabytes(total)} MB`,
    busy: 'Computing…',
    ready: `Ready. It computes with ${opened?.backend}${opened !== null && opened.threads > 1 ? ` on ${opened.threads} threads` : ''}.`,
  };
  const state = opened === null ? 'loading' : isChoosing || isBusy || found.isBusy ? 'busy' : 'ready';
  return (
    <>
      <header class="top">
        <h1>
          <a href={href()}>{manifest?.title ?? 'What a DINO model sees'}</a>
        </h1>
        <ThemeChoice />
      </header>
      <main>
        {error !== null && <Failure error={error} />}
        <section class="card choose" aria-label="Choose an image">
          <div>
            <p>
              Choose an image: the model looks at it here, in this page. Nothing is sent anywhere.
              {manifest !== null &&
                ` The model: ${manifest.model.arch}, ${millions(manifest.model.parameters)} parameters, trained without labels.`}
            </p>
            <PickImage label="Choose an image" onImage={chooseFile} takesPaste />
          </div>
          {gallery !== null && (
            <div>
              <p>Or try one of these:</p>
              <Samples
                gallery={gallery}
                current={chosen?.row ?? null}
                onChoose={(row) => chooseRow(gallery, row)}
              />
            </div>
          )}
          <p class="note" role="status" id="status" data-state={state}>
            {error === null && words[state]}
          </p>
          {opened === null && error === null && total > 0 && (
            <progress aria-label="Loading the model" value={loaded} max={total} />
          )}
          {isGone && (
            <p class="note">
              The image that the address names is not in this page; one that was given stays only until the
              page is closed.
            </p>
          )}
          {chosen?.isSmall === true && (
            <p class="note">Of {chosen.name} this page has only a small picture: its details are missing.</p>
          )}
          {problem !== null && <Failure error={problem}>{problem === seenError && <UsualSize />}</Failure>}
        </section>
        {seen !== null && seenError === null && manifest !== null && (
          <SeenCard
            answer={seen}
            side={side}
            largest={Math.max(side, MOST_PATCHES * manifest.model.patchSize)}
            onSide={setSide}
          />
        )}
        {manifest !== null && !canBeSeen(manifest) && (
          <p class="note">{manifest.model.arch} has no attention to draw.</p>
        )}
        {classifier !== null && found.answer?.labels && (
          <LabelCard classifier={classifier} labels={found.answer.labels} />
        )}
        {gallery !== null && found.answer?.neighbours && (
          <section class="card" aria-label="Neighbours">
            <h2>The most similar of {count(gallery.images.length)} images</h2>
            <p class="note">
              By the cosine similarity of the model’s features; it was trained without labels.
            </p>
            <Neighbours
              gallery={gallery}
              shown={found.answer.neighbours}
              onChoose={(row) => chooseRow(gallery, row)}
            />
          </section>
        )}
      </main>
    </>
  );
}
