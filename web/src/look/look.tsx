/** Look: what a model sees in one image or two. */
import { useState } from 'preact/hooks';
import { runs } from '../live.ts';
import { href, route, setQuery } from '../router.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';
import { type Chosen, ofFolders, unpack } from './answer.ts';
import { ImageChoice } from './image-choice.tsx';
import { type Choice, ModelChoice, modelOf } from './model-choice.tsx';
import { SeenCard } from './seen.tsx';
import './look.css';

/** The image that the address names. */
function imageOfAddress(name: 'image' | 'second'): Chosen | null {
  const path = route.peek().query.get(name);
  return path === null ? null : ofFolders(path);
}

/** An image that is kept in the address if it lies in one of the studio's folders. */
function useImage(name: 'image' | 'second'): [Chosen | null, (chosen: Chosen | null) => void] {
  const [image, setImage] = useState(() => imageOfAddress(name));
  const choose = (chosen: Chosen | null): void => {
    setImage(chosen);
    setQuery(name, chosen !== null && 'path' in chosen.source ? chosen.source.path : null);
  };
  return [image, choose];
}

export function Look() {
  const { query } = route.value;
  const { answer: models, error: modelsError } = useRequest('GET /api/look/models', {});
  const [first, chooseFirst] = useImage('image');
  const [second, chooseSecond] = useImage('second');
  const [side, setSide] = useState<number | null>(null);
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
        {models?.length === 0 && (
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
              setQuery('weights', weights);
              // the number of heads belongs to one file
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
        {answer?.remarks.map((remark) => (
          <p key={remark} class="note" data-remark="">
            {remark}
          </p>
        ))}
        {error !== null && <Failure error={error} />}
      </section>
      <div class="image-choices">
        <ImageChoice title="Image" chosen={first} isFirst onChoose={chooseFirst} />
        {first !== null && (
          <ImageChoice
            title="Second image, to compare with"
            chosen={second}
            isFirst={false}
            onChoose={chooseSecond}
          />
        )}
      </div>
      {answer !== null && error === null && (
        <SeenCard
          answer={answer}
          side={side ?? answer.side}
          onSide={setSide}
          checkpoints={model?.checkpoints ?? []}
          weights={choice.weights}
          onWeights={(weights) => setQuery('weights', weights)}
        />
      )}
    </>
  );
}
