/** Look: what a model sees in one image or two. */
import { numberOf, setSide, sideOfAddress } from '../attention/choices.ts';
import { SeenCard, UsualSize } from '../attention/seen.tsx';
import { runs } from '../live.ts';
import { addressWith, href, navigate, route, setQuery } from '../router.ts';
import { ModelActions } from '../ui/model-actions.tsx';
import { modelOf } from '../ui/models.ts';
import { NotAllFolders } from '../ui/not-all-folders.tsx';
import { Failure, Loading } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';
import { chosenOf, unpack } from './answer.ts';
import { CheckpointSlider } from './checkpoint-slider.tsx';
import type { FolderPlace } from './folder-images.tsx';
import { ImageChoice } from './image-choice.tsx';
import { type Choice, ModelChoice } from './model-choice.tsx';
import './look.css';

/** Goes to another image, which Back leaves again; a pinned patch is one of the image before. */
const choose = (name: 'image' | 'second', image: string | null): void =>
  navigate(addressWith({ [name]: image, patch: null }));

/** The most images of any folder. */
const MOST_IMAGES = 1e9;

/** Where an image is looked for, in the address: `folder` and `from` for the first, `second-folder` and so on. */
function folderOf(prefix: string): FolderPlace | null {
  const path = route.value.query.get(`${prefix}folder`);
  return path === null ? null : { path, from: Math.floor(numberOf(`${prefix}from`, 0, MOST_IMAGES) ?? 0) };
}
const goToFolder = (prefix: string, { path, from }: FolderPlace): void =>
  navigate(addressWith({ [`${prefix}folder`]: path, [`${prefix}from`]: from === 0 ? null : String(from) }));

/** The most patches along the shorter side. */
const MOST_PATCHES = 64;

export function Look() {
  const { query } = route.value;
  const { answer: found, error: modelsError } = useRequest('GET /api/look/models', {});
  const models = found?.models ?? null;
  const [first = null, second = null] = (['image', 'second'] as const).map((name) => {
    const text = query.get(name);
    return text === null ? null : chosenOf(text);
  });
  const side = sideOfAddress();
  const choice: Choice = {
    weights: query.get('weights') ?? models?.[0]?.path ?? '',
    checkpointKey: query.get('network') ?? 'teacher',
    numHeads: Number(query.get('heads')) || null,
  };
  const chosen = [first, second].filter((one) => one !== null);
  const canAsk = choice.weights !== '' && chosen.length > 0;
  const { answer, error, isBusy } = useRequest(
    'POST /api/look',
    canAsk ? { body: { ...choice, images: chosen.map(({ source }) => source), side } } : null,
    { keep: true, delay: 150, read: (bytes) => unpack(bytes, chosen) },
  );
  const model = models === null ? undefined : modelOf(models, choice.weights);
  const run = (runs.value ?? []).find(({ path }) => path === model?.path);
  return (
    <>
      <section class="card">
        <h1>Look</h1>
        {modelsError !== null && <Failure error={modelsError} />}
        {models === null && modelsError === null && <Loading what="models" />}
        {models?.length === 0 && found?.isWhole && (
          <p>
            There are no models in this studio’s folders yet: neither a run with a checkpoint nor a file of
            weights (<code>.pth</code>, <code>.safetensors</code>).
          </p>
        )}
        {models !== null && models.length > 0 && (
          <ModelChoice
            models={models}
            choice={choice}
            onChange={({ weights, checkpointKey, numHeads }) => {
              const isSame = weights === choice.weights;
              navigate(
                addressWith({
                  weights,
                  // the number of heads belongs to one file
                  heads: numHeads === null || !isSame ? null : String(numHeads),
                  network: checkpointKey === 'teacher' ? null : checkpointKey,
                }),
              );
            }}
          >
            {model !== undefined && (
              <ModelActions
                model={{ path: choice.weights, heads: choice.numHeads, network: choice.checkpointKey }}
                without="look"
              />
            )}
          </ModelChoice>
        )}
        {found?.isWhole === false && <NotAllFolders />}
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
              ? 'Choose an image, and what the model sees in it appears below.'
              : ''}
        </p>
        {answer?.remarks.map((remark) => (
          <p key={remark} class="note" data-remark="">
            {remark}
          </p>
        ))}
        {error !== null && (
          <Failure error={error}>
            <UsualSize />
          </Failure>
        )}
      </section>
      <div class="image-choices">
        <ImageChoice
          title="Image"
          chosen={first}
          isFirst
          place={folderOf('')}
          onMove={(place) => goToFolder('', place)}
          onChoose={(image) => choose('image', image)}
        />
        {first !== null && (
          <ImageChoice
            title="Second image, to compare with"
            chosen={second}
            isFirst={false}
            place={folderOf('second-')}
            onMove={(place) => goToFolder('second-', place)}
            onChoose={(image) => choose('second', image)}
          />
        )}
      </div>
      {answer !== null && error === null && (
        <SeenCard
          answer={answer}
          side={side ?? answer.side}
          largest={MOST_PATCHES * answer.patchSize}
          onSide={setSide}
        >
          {model !== undefined && model.checkpoints.length > 1 && (
            <CheckpointSlider
              checkpoints={model.checkpoints}
              weights={choice.weights}
              onChange={(weights) => setQuery('weights', weights)}
            />
          )}
        </SeenCard>
      )}
    </>
  );
}
