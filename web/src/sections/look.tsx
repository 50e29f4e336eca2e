/** Look: what any model sees in an image, or in two. */
import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { likeness, massMask, meanMap } from '../../../src/explain/maps.ts';
import { unpackArrays } from '../../../src/studio/packed.ts';
import { type LookFacts, type LookImage, type LookModel, request, upload } from '../api.ts';
import {
  headName,
  HeadStrip,
  mapOf,
  MapSliders,
  percent,
  PickImage,
  useDrawn,
} from '../attention/controls.tsx';
import { FolderImages } from '../attention/folder-images.tsx';
import { MapView } from '../attention/map-view.tsx';
import { runs } from '../live.ts';
import { href, route, setQuery } from '../router.ts';
import { Failure, Loading } from '../ui/parts.tsx';

type Facts = LookFacts['images'][number];

/** An image as it came back, ready to be drawn. */
interface Seen extends Facts {
  picture: HTMLCanvasElement;
  maps: Float32Array;
  mean: Float32Array;
  features: Float32Array | null;
  colours: Uint8Array | null;
}

interface Answer extends Omit<LookFacts, 'images'> {
  images: Seen[];
}

/** An image that was chosen: one of the folders, or one that was given by hand. */
interface Chosen {
  source: LookImage;
  name: string;
}

type View = 'attention' | 'likeness' | 'colours';

function drawn(rgb: Uint8Array, width: number, height: number): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const rgba = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let i = 0, j = 0; i < rgb.length; i += 3, j += 4) rgba.set(rgb.subarray(i, i + 3), j);
  canvas.getContext('2d')!.putImageData(new ImageData(rgba, width, height), 0, 0);
  return canvas;
}

function unpack(bytes: Uint8Array): Answer {
  const { facts, arrays } = unpackArrays(bytes as Uint8Array<ArrayBuffer>);
  const { images, ...rest } = facts as LookFacts;
  let at = 0;
  const seen = images.map((image): Seen => {
    const picture = drawn(arrays[at++] as Uint8Array, image.width, image.height);
    const maps = arrays[at++] as Float32Array;
    const features = image.hasFeatures ? (arrays[at++] as Float32Array) : null;
    const colours = image.hasColours ? (arrays[at++] as Uint8Array) : null;
    return { ...image, picture, maps, mean: meanMap(maps, image.heads), features, colours };
  });
  return { ...rest, images: seen };
}

interface UploadReply {
  id: string;
  width: number;
  height: number;
}

/** Where one of the two images comes from. */
function ImageChoice(props: {
  title: string;
  chosen: Chosen | null;
  isFirst: boolean;
  onChoose: (chosen: Chosen | null) => void;
}) {
  const { title, chosen, isFirst, onChoose } = props;
  const [error, setError] = useState<unknown>(null);
  const [isSending, setSending] = useState(false);
  const latest = useRef(onChoose);
  latest.current = onChoose;
  const onImage = useCallback((file: File) => {
    setSending(true);
    setError(null);
    upload<UploadReply>('/api/upload/look', file)
      .then(
        ({ id }) => latest.current({ source: { upload: id }, name: file.name || 'pasted image' }),
        (reason: unknown) => setError(reason),
      )
      .finally(() => setSending(false));
  }, []);
  return (
    <section class="card" aria-label={title}>
      <h2>{title}</h2>
      <PickImage label="Choose a file" onImage={onImage} takesPaste={isFirst} />
      {isSending && <Loading what="the image" />}
      {error !== null && <Failure error={error} />}
      <details>
        <summary>From the studio’s folders</summary>
        <FolderImages onChoose={(path, name) => onChoose({ source: { path }, name })} />
      </details>
      {chosen !== null && (
        <p class="row">
          <span>{chosen.name}</span>
          <button type="button" onClick={() => onChoose(null)}>
            Take it away
          </button>
        </p>
      )}
    </section>
  );
}

interface Choice {
  weights: string;
  checkpointKey: string;
  /** Of a file that doesn't say them; else null. */
  numHeads: number | null;
}

function ModelChoice(props: {
  models: readonly LookModel[];
  choice: Choice;
  onChange: (choice: Choice) => void;
}) {
  const { models, choice, onChange } = props;
  const model = models.find(
    ({ path, checkpoints }) =>
      path === choice.weights || checkpoints.some((one) => one.path === choice.weights),
  );
  return (
    <div class="row">
      <label>
        Model{' '}
        <select
          value={model?.path ?? ''}
          onChange={(event) => onChange({ ...choice, weights: event.currentTarget.value })}
        >
          {model === undefined && <option value="">{choice.weights || 'choose one'}</option>}
          {(['run', 'file'] as const).map((kind) => {
            const some = models.filter((one) => one.kind === kind);
            return some.length === 0 ? null : (
              <optgroup key={kind} label={kind === 'run' ? 'Runs' : 'Files of weights'}>
                {some.map((one) => (
                  <option key={one.path} value={one.path}>
                    {one.name}
                  </option>
                ))}
              </optgroup>
            );
          })}
        </select>
      </label>
      {model !== undefined && model.checkpoints.length > 0 && (
        <label>
          Checkpoint{' '}
          <select
            value={choice.weights}
            onChange={(event) => onChange({ ...choice, weights: event.currentTarget.value })}
          >
            <option value={model.path}>newest</option>
            {model.checkpoints.map(({ step, path }) => (
              <option key={path} value={path}>
                step {step}
              </option>
            ))}
          </select>
        </label>
      )}
      <label>
        Network{' '}
        <select
          value={choice.checkpointKey}
          onChange={(event) => onChange({ ...choice, checkpointKey: event.currentTarget.value })}
        >
          <option value="teacher">teacher</option>
          <option value="student">student</option>
        </select>
      </label>
      {model?.kind === 'file' && (
        <label>
          Attention heads{' '}
          <input
            type="number"
            min="1"
            step="1"
            placeholder="as the file says"
            value={choice.numHeads ?? ''}
            onChange={(event) => {
              const heads = Number(event.currentTarget.value);
              onChange({ ...choice, numHeads: Number.isInteger(heads) && heads > 0 ? heads : null });
            }}
          />
        </label>
      )}
    </div>
  );
}

const place = (patch: number, columns: number): string =>
  `row ${Math.floor(patch / columns) + 1}, column ${(patch % columns) + 1}`;

function Views({
  answer,
  names,
  side,
  onSide,
}: {
  answer: Answer;
  names: readonly string[];
  side: number;
  onSide: (side: number) => void;
}) {
  const [view, setView] = useState<View>('attention');
  const drawn = useDrawn();
  const { head, overlay, mass } = drawn;
  const [picked, setPicked] = useState<{ image: number; patch: number }>({ image: 0, patch: 0 });
  const { images, patchSize, embedDim, explained } = answer;
  const first = images[0]!;
  const hasFeatures = images.every(({ features }) => features !== null);
  const shown = hasFeatures ? view : 'attention';
  const from = images[picked.image] ?? first;
  // another size of the picture has other patches
  const patch = Math.min(picked.patch, from.rows * from.columns - 1);
  const maps = useMemo(() => {
    if (shown === 'colours') return images.map(({ colours }) => colours!);
    if (shown === 'attention') return images.map((image) => mapOf(image, Math.min(head, image.heads)));
    const query = from.features!.subarray(patch * embedDim, (patch + 1) * embedDim);
    return images.map(({ features }) => likeness(query, features!));
  }, [answer, shown, head, picked]);
  const showHead = (value: number): void => {
    drawn.setHead(value);
    setView('attention');
  };
  const describe =
    (index: number) =>
    (i: number): string => {
      const { columns } = images[index]!;
      const map = maps[index]!;
      if (shown === 'colours') return `${place(i, columns)}: ${map.slice(i * 3, i * 3 + 3).join(', ')}`;
      return `${place(i, columns)}: ${shown === 'likeness' ? map[i]!.toFixed(3) : percent(map[i]!, 2)}`;
    };
  const titles: Record<View, string> = {
    attention: `Attention, ${headName(head)}`,
    likeness: `Likeness to the patch in ${place(patch, from.columns)}${images.length > 1 ? ` of ${names[picked.image] ?? ''}` : ''}`,
    colours: 'Principal components as colours',
  };
  return (
    <section class="card" aria-label="What it sees">
      <h2>{titles[shown]}</h2>
      <fieldset class="row views">
        <legend class="hidden">What is shown</legend>
        {(['attention', 'likeness', 'colours'] as const).map((one) => (
          <label key={one}>
            <input
              type="radio"
              name="view"
              checked={shown === one}
              disabled={!hasFeatures && one !== 'attention'}
              onChange={() => setView(one)}
            />{' '}
            {{ attention: 'Attention', likeness: 'Likeness to a patch', colours: 'Colours' }[one]}
          </label>
        ))}
      </fieldset>
      <div class="map-layout">
        {images.map((image, i) => (
          <figure key={i} class="seen">
            <MapView
              picture={image.picture}
              rows={image.rows}
              columns={image.columns}
              map={maps[i]!}
              overlay={overlay}
              range={shown === 'likeness' ? [0, 1] : undefined}
              mask={shown === 'attention' && mass < 1 ? massMask(maps[i] as Float32Array, mass) : null}
              marked={shown === 'likeness' && i === picked.image ? patch : null}
              size={images.length > 1 ? 400 : 480}
              label={`${titles[shown]}: ${names[i] ?? ''}`}
              onPick={
                hasFeatures
                  ? (chosen) => {
                      setPicked({ image: i, patch: chosen });
                      setView('likeness');
                    }
                  : undefined
              }
              describe={describe(i)}
            />
            <figcaption class="note">
              {names[i]}: {image.rows} × {image.columns} patches
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
              : 'This architecture has attention alone: its patches have no features of their own.'}
            {explained.length > 0 &&
              ` The colours hold ${explained.map((share) => percent(share)).join(', ')} of the patches’ variance.`}
          </p>
        </div>
      </div>
      <h3>All heads</h3>
      <HeadStrip {...first} head={shown === 'attention' ? head : -1} overlay={overlay} onChange={showHead} />
    </section>
  );
}

export default function Look() {
  const { query } = route.value;
  const [models, setModels] = useState<LookModel[] | null>(null);
  const [modelsError, setModelsError] = useState<unknown>(null);
  const fromAddress = (name: string): Chosen | null => {
    const path = query.get(name);
    return path === null ? null : { source: { path }, name: path.split(/[\\/]/).at(-1)! };
  };
  const [first, setFirst] = useState<Chosen | null>(() => fromAddress('image'));
  const [second, setSecond] = useState<Chosen | null>(() => fromAddress('second'));
  const [side, setSide] = useState<number | null>(null);
  const [answer, setAnswer] = useState<{ answer: Answer; names: string[] } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);

  useEffect(() => {
    request('GET /api/look/models', {}).then(setModels, setModelsError);
  }, []);
  const choice: Choice = {
    weights: query.get('weights') ?? models?.[0]?.path ?? '',
    checkpointKey: query.get('network') ?? 'teacher',
    numHeads: Number(query.get('heads')) || null,
  };
  const choose =
    (name: 'image' | 'second', set: (chosen: Chosen | null) => void) => (chosen: Chosen | null) => {
      set(chosen);
      setQuery(name, chosen !== null && 'path' in chosen.source ? chosen.source.path : null);
    };

  useEffect(() => {
    const chosen = [first, second].filter((one) => one !== null);
    if (choice.weights === '' || chosen.length === 0) {
      setAnswer(null);
      return;
    }
    const controller = new AbortController();
    const ask = (): void => {
      setBusy(true);
      const body = { ...choice, images: chosen.map(({ source }) => source), side };
      request('POST /api/look', { body, signal: controller.signal })
        .then(
          (bytes) => {
            setAnswer({ answer: unpack(bytes), names: chosen.map(({ name }) => name) });
            setError(null);
          },
          (reason: unknown) => {
            if (controller.signal.aborted) return;
            setAnswer(null);
            setError(reason);
          },
        )
        .finally(() => {
          if (!controller.signal.aborted) setBusy(false);
        });
    };
    // a slider that is dragged asks once it rests
    const timer = setTimeout(ask, 150);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [choice.weights, choice.checkpointKey, choice.numHeads, first, second, side]);

  const model = models?.find(
    ({ path, checkpoints }) =>
      path === choice.weights || checkpoints.some((one) => one.path === choice.weights),
  );
  const run = (runs.value ?? []).find(({ path }) => path === model?.path);
  const usualSide = answer === null ? 0 : Math.min(...sidesOf(answer.answer));
  return (
    <>
      <section class="card">
        <h1>Look</h1>
        {modelsError !== null && <Failure error={modelsError} />}
        {models === null && modelsError === null && <Loading what="models" />}
        {models?.length === 0 && (
          <p>
            There is no model under the folders of this studio yet: a run with a checkpoint, or a file of
            weights (<code>.pth</code>, <code>.safetensors</code>).
          </p>
        )}
        {models !== null && models.length > 0 && (
          <ModelChoice
            models={models}
            choice={choice}
            onChange={({ weights, checkpointKey, numHeads }) => {
              setQuery('weights', weights);
              // heads are of one file
              setQuery('heads', numHeads === null || weights !== choice.weights ? null : String(numHeads));
              setQuery('network', checkpointKey === 'teacher' ? null : checkpointKey);
            }}
          />
        )}
        {run !== undefined && (
          <p class="note">
            <a href={href('runs', run.id)}>The run’s own page</a> shows what it attends to in its watched
            images at every checkpoint.
          </p>
        )}
        <p class="note" role="status" id="look-status" data-state={isBusy ? 'busy' : 'ready'}>
          {isBusy
            ? 'Computing…'
            : first === null
              ? 'Choose an image: what the model sees in it appears below.'
              : ''}
        </p>
        {answer?.answer.remarks.map((remark) => (
          <p key={remark} class="note" data-remark="">
            {remark}
          </p>
        ))}
        {error !== null && <Failure error={error} />}
      </section>
      <div class="choices">
        <ImageChoice title="Image" chosen={first} isFirst onChoose={choose('image', setFirst)} />
        {first !== null && (
          <ImageChoice
            title="Second image, to compare with"
            chosen={second}
            isFirst={false}
            onChoose={choose('second', setSecond)}
          />
        )}
      </div>
      {answer !== null && (
        <Views answer={answer.answer} names={answer.names} side={side ?? usualSide} onSide={setSide} />
      )}
    </>
  );
}

/** Shorter side of each picture, pixels. */
const sidesOf = ({ images }: Answer): number[] => images.map(({ width, height }) => Math.min(width, height));
