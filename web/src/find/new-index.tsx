/** Makes an index: of which images, by which model, where. */
import { signal } from '@preact/signals';
import { useState } from 'preact/hooks';
import { request } from '../api.ts';
import { navigate, route } from '../router.ts';
import { Form } from '../ui/form.tsx';
import { count } from '../ui/format.ts';
import { modelOf } from '../ui/models.ts';
import { NotAllFolders } from '../ui/not-all-folders.tsx';
import { Failure, Loading } from '../ui/parts.tsx';
import { PickFolder } from '../ui/pick-folder.tsx';
import { useAnswer } from '../use-answer.ts';
import { useRequest } from '../use-request.ts';
import { isTaken, nextName } from './export-form.tsx';
import { freshPlace } from './place.ts';

/** The task that was started last in this page: its index is opened when it is done. */
export const started = signal<string | null>(null);

interface NewIndexProps {
  /** The folder that was chosen; null: none yet. */
  images: string | null;
  /** The folder that is shown to choose from; '' for the given ones. */
  folder: string;
}

export function NewIndex({ images, folder }: NewIndexProps) {
  const { query: given } = route.value;
  const weights = given.get('weights');
  const heads = given.get('heads') ?? '';
  const place = (query: Readonly<Record<string, string>>): string =>
    freshPlace({
      new: '1',
      ...(weights === null ? {} : { weights }),
      ...(heads === '' ? {} : { heads }),
      ...query,
    });
  return (
    <>
      <header class="row">
        <h1>New index</h1>
        <a href={freshPlace()}>All indexes</a>
      </header>
      {images === null ? (
        <PickFolder
          path={folder}
          onOpen={(path) => navigate(place(path === '' ? {} : { folder: path }))}
          onChoose={(path) => navigate(place({ images: path }))}
        />
      ) : (
        <Settings {...{ images, weights, heads }} again={place({})} />
      )}
    </>
  );
}

interface SettingsProps {
  images: string;
  /** The model that was asked for; null: the first. */
  weights: string | null;
  /** Its attention heads, as they are typed. */
  heads: string;
  /** Where another folder is chosen. */
  again: string;
}

function Settings({ images, weights, heads: given, again }: SettingsProps) {
  const { answer: found, error } = useRequest('GET /api/look/models', {});
  const models = found?.models ?? null;
  const [chosen, setChosen] = useState(weights);
  const [output, setOutput] = useState(`${images.replace(/[/\\]+$/, '')}.index`);
  const [heads, setHeads] = useState(given);
  const asked = models === null || chosen === null ? undefined : modelOf(models, chosen);
  const model = asked ?? models?.[0];
  const checkpoint = asked?.checkpoints.find(({ path }) => path === chosen);
  const isMissing = models !== null && chosen !== null && asked === undefined;
  const making = useAnswer(async () => {
    const numHeads = heads === '' ? {} : { numHeads: Number(heads) };
    try {
      return await request('POST /api/find/index', {
        body: { weights: checkpoint?.path ?? model!.path, images, output, ...numHeads },
      });
    } catch (problem) {
      if (isTaken(problem)) setOutput(nextName(output));
      throw problem;
    }
  });
  const make = async (): Promise<void> => {
    const task = await making.ask(null);
    if (task === null) return;
    started.value = task.id;
    navigate(freshPlace());
  };
  return (
    <Form class="card stack" onSubmit={() => void make()}>
      <p class="row">
        <span>
          Images: <code>{images}</code>
        </span>
        <a href={again}>Choose another folder</a>
      </p>
      {error !== null && <Failure error={error} />}
      {models === null && error === null && <Loading what="models" />}
      {models?.length === 0 && found?.isWhole && (
        <p>
          There is no model in this studio’s folders yet: neither a run with a checkpoint nor a file of
          weights (<code>.pth</code>, <code>.safetensors</code>). Train one in the section Start first.
        </p>
      )}
      {found?.isWhole === false && <NotAllFolders />}
      {model !== undefined && (
        <>
          <label>
            Model
            <select
              name="weights"
              value={checkpoint?.path ?? model.path}
              onChange={(event) => setChosen(event.currentTarget.value)}
            >
              {checkpoint !== undefined && (
                <option value={checkpoint.path}>
                  {model.name} (its checkpoint of step {count(checkpoint.step)})
                </option>
              )}
              {models!.map(({ path, name, kind }) => (
                <option key={path} value={path}>
                  {name} ({kind === 'run' ? 'a run, its newest checkpoint' : 'a file of weights'})
                </option>
              ))}
            </select>
          </label>
          {isMissing && <p class="note">{chosen} is not among the models of this studio’s folders.</p>}
          {model.kind === 'file' && (
            <label>
              Attention heads, if the file doesn’t say
              <input
                type="number"
                min="1"
                step="1"
                value={heads}
                onInput={(event) => setHeads(event.currentTarget.value)}
              />
            </label>
          )}
          <label>
            Folder of the index
            <input
              type="text"
              name="output"
              required
              value={output}
              onInput={(event) => setOutput(event.currentTarget.value)}
            />
          </label>
          <p>
            <button type="submit" class="main" disabled={making.isBusy}>
              {making.isBusy ? 'Starting…' : 'Make the index'}
            </button>
          </p>
          <p class="note">
            It is made in the background, even if you close this page, and opens when it is ready. An existing
            index of the same images is updated.
          </p>
        </>
      )}
      {making.error !== null && <Failure error={making.error} />}
    </Form>
  );
}
