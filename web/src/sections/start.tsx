/** Start: choose images, see what is in them and what training would see, try it, begin. */
import { useComputed, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import {
  type CropSamples,
  type FolderListing,
  type ImagesReport,
  pictureOf,
  type PresetChoice,
  request,
  type StartPlan,
  type StartRequest,
  type Task,
  type TrialResult,
} from '../api.ts';
import { timeLabel } from '../charts/plot.ts';
import { keepTask, tasks } from '../live.ts';
import { href, navigate, route, setQuery } from '../router.ts';
import { bytes, count, setting } from '../runs/format.ts';
import { Failure, Loading, TaskProgressBar } from '../ui/parts.tsx';
import './start.css';

/** The task of an id as it is now. */
const useTask = (id: string | null): Task | undefined => (id === null ? undefined : tasks.value.get(id));

/** Walks through the given folders. */
function Browse({ choose }: { choose: (path: string) => void }) {
  const path = useSignal('');
  const listing = useSignal<FolderListing | null>(null);
  const failure = useSignal<unknown>(null);
  useEffect(() => {
    const controller = new AbortController();
    request('GET /api/folders', { query: { path: path.value }, signal: controller.signal }).then(
      (found) => {
        listing.value = found;
        failure.value = null;
      },
      (error: unknown) => {
        if (!controller.signal.aborted) failure.value = error;
      },
    );
    return () => controller.abort();
  }, [path.value]);
  const found = listing.value;
  return (
    <section class="card" aria-labelledby="browse">
      <h2 id="browse">Images</h2>
      {failure.value !== null && <Failure error={failure.value} />}
      {found === null ? (
        <Loading what="folders" />
      ) : (
        <>
          <p class="row">
            {found.path !== '' && (
              <button type="button" onClick={() => (path.value = found.parent ?? '')}>
                ↑ Up
              </button>
            )}
            <code class="where">{found.path === '' ? 'The folders of this studio' : found.path}</code>
            {found.path !== '' && (
              <button type="button" class="main" onClick={() => choose(found.path)}>
                Use this folder
              </button>
            )}
          </p>
          <ul class="folders">
            {found.folders.map((folder) => (
              <li key={folder.path}>
                <button type="button" onClick={() => (path.value = folder.path)}>
                  📁 {folder.name}
                </button>{' '}
                <span class="note">
                  {folder.isRun
                    ? 'a run'
                    : folder.images === null
                      ? 'can’t be read'
                      : `${count(folder.images)} images`}
                </span>
              </li>
            ))}
          </ul>
          {found.imageCount > 0 && (
            <div class="strip">
              {found.images.slice(0, 12).map((image) => (
                <img key={image.path} src={pictureOf(image.path, 128)} alt={image.name} loading="lazy" />
              ))}
            </div>
          )}
          {found.folders.length === 0 && found.imageCount === 0 && (
            <p class="note">Nothing in it to train on.</p>
          )}
        </>
      )}
    </section>
  );
}

function Report({ report }: { report: ImagesReport }) {
  const { width, height, classes, broken, formats } = report;
  const sample = report.checked < report.count ? ` (${count(report.checked)} of them looked at)` : '';
  return (
    <div class="report">
      <dl>
        <dt>Images</dt>
        <dd>
          {count(report.count)}
          {sample}
        </dd>
        <dt>Size</dt>
        <dd>
          {width.median} × {height.median} in the middle; {width.least} to {width.greatest} wide,{' '}
          {height.least} to {height.greatest} high
        </dd>
        <dt>On disk</dt>
        <dd>
          {bytes(report.bytes)},{' '}
          {Object.entries(formats)
            .map(([name, n]) => `${count(n)} ${name}`)
            .join(', ')}
        </dd>
        <dt>Classes</dt>
        <dd>{classes === null ? 'none: training needs none' : count(classes.length)}</dd>
        <dt>Broken</dt>
        <dd>{count(broken.count)}</dd>
      </dl>
      {report.outside > 0 && (
        <p class="failure">
          {count(report.outside)} images are links that lead outside the folders of this studio, and are not
          read. Start the studio with their folder too.
        </p>
      )}
      {classes !== null && (
        <details>
          <summary>Images by class</summary>
          <table>
            <tbody>
              {classes.map((one) => (
                <tr key={one.name}>
                  <th scope="row">{one.name}</th>
                  <td>{count(one.count)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </details>
      )}
      {broken.count > 0 && (
        <details>
          <summary>Files that can’t be read</summary>
          <ul>
            {broken.first.map((one) => (
              <li key={one.path}>
                <code>{one.path}</code>: {one.reason}
              </li>
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}

function Inspection({ images }: { images: string }) {
  const id = useSignal<string | null>(null);
  const failure = useSignal<unknown>(null);
  useEffect(() => {
    id.value = null;
    failure.value = null;
    request('POST /api/start/inspect', { body: { images } }).then(
      (task) => {
        keepTask(task);
        id.value = task.id;
      },
      (error: unknown) => (failure.value = error),
    );
  }, [images]);
  const task = useTask(id.value);
  return (
    <section class="card" aria-labelledby="inspection">
      <h2 id="inspection">What is in it</h2>
      {failure.value !== null && <Failure error={failure.value} />}
      {task !== undefined && <TaskProgressBar task={task} />}
      {task?.state === 'done' && <Report report={task.result as ImagesReport} />}
    </section>
  );
}

/** "out-dim 256" or "outDim=256", one a line. */
function parseOverrides(text: string): Record<string, string> {
  const entries = text
    .split('\n')
    .map((line) => line.trim().replace(/^--/, ''))
    .filter((line) => line !== '')
    .map((line): [string, string] => {
      const [, name = '', value = ''] = /^([^\s=:]+)\s*[=:\s]?\s*(.*)$/.exec(line) ?? [];
      return [name, value];
    });
  return Object.fromEntries(entries);
}

function PlanTable({ plan }: { plan: StartPlan }) {
  const chosen = new Set(plan.choices.map(({ name }) => name as string));
  return (
    <>
      <p>
        {count(plan.steps)} steps, {count(plan.stepsPerEpoch)} an epoch, on {plan.device}.
      </p>
      {plan.warnings.map((warning) => (
        <p key={warning} class="failure">
          {warning}
        </p>
      ))}
      <div class="scroll" tabIndex={0}>
        <table class="choices">
          <thead>
            <tr>
              <th scope="col">Setting</th>
              <th scope="col">Chosen</th>
              <th scope="col">Why</th>
            </tr>
          </thead>
          <tbody>
            {plan.choices.map(({ name, value, reason }) => (
              <tr key={name}>
                <th scope="row">
                  <code>{name}</code>
                </th>
                <td>{setting(value)}</td>
                <td class="note">{reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <details>
        <summary>All other settings</summary>
        <table>
          <tbody>
            {Object.entries(plan.settings)
              .filter(([name]) => !chosen.has(name))
              .map(([name, value]) => (
                <tr key={name}>
                  <th scope="row">
                    <code>{name}</code>
                  </th>
                  <td>{setting(value)}</td>
                </tr>
              ))}
          </tbody>
        </table>
      </details>
    </>
  );
}

function Crops({ body }: { body: StartRequest }) {
  const seed = useSignal(0);
  const samples = useSignal<CropSamples | null>(null);
  const failure = useSignal<unknown>(null);
  useEffect(() => {
    const controller = new AbortController();
    failure.value = null;
    request('POST /api/start/crops', { body: { ...body, seed: seed.value }, signal: controller.signal }).then(
      (found) => (samples.value = found),
      (error: unknown) => {
        if (!controller.signal.aborted) failure.value = error;
      },
    );
    return () => controller.abort();
  }, [body, seed.value]);
  return (
    <section class="card" aria-labelledby="crops">
      <h2 id="crops">What training would see</h2>
      <p class="row">
        <button type="button" onClick={() => seed.value++}>
          Other images
        </button>
        <span class="note">
          The loader’s own crops with these settings: the original, two global crops, the local ones.
        </span>
      </p>
      {failure.value !== null && <Failure error={failure.value} />}
      {samples.value === null ? (
        failure.value === null && <Loading what="crops" />
      ) : (
        <ul class="crops">
          {samples.value.images.map(({ path, globals, locals }) => (
            <li key={path}>
              <img src={pictureOf(path, 128)} alt={`the image ${path}`} />
              {globals.map((crop, i) => (
                <img
                  key={`g${i}`}
                  class="global"
                  src={`data:image/webp;base64,${crop}`}
                  alt={`global crop ${i + 1}`}
                />
              ))}
              {locals.map((crop, i) => (
                <img
                  key={`l${i}`}
                  class="local"
                  src={`data:image/webp;base64,${crop}`}
                  alt={`local crop ${i + 1}`}
                />
              ))}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Trial({ body }: { body: StartRequest }) {
  const id = useSignal<string | null>(null);
  const failure = useSignal<unknown>(null);
  useEffect(() => {
    id.value = null;
  }, [body]);
  const task = useTask(id.value);
  const result = task?.state === 'done' ? (task.result as TrialResult) : null;
  const measure = async (): Promise<void> => {
    failure.value = null;
    try {
      const started = await request('POST /api/start/trial', { body });
      keepTask(started);
      id.value = started.id;
    } catch (error) {
      failure.value = error;
    }
  };
  return (
    <section class="card" aria-labelledby="trial">
      <h2 id="trial">Time and memory</h2>
      <p class="row">
        <button type="button" disabled={task?.state === 'running'} onClick={() => void measure()}>
          Measure with a few trial steps
        </button>
        <span class="note">The real training’s first steps in a folder that is thrown away.</span>
      </p>
      {failure.value !== null && <Failure error={failure.value} />}
      {task !== undefined && <TaskProgressBar task={task} />}
      {result !== null && (
        <dl class="trial">
          <dt>The whole training</dt>
          <dd>
            about {timeLabel(result.totalSeconds)} for {count(result.totalSteps)} steps, without checkpoints
            and evaluations
          </dd>
          <dt>Speed</dt>
          <dd>
            {result.imagesPerSecond.toFixed(1)} images a second, {timeLabel(result.secondsPerStep)} a step
            (median of {result.steps}); waiting for data {result.dataWaitPercent.toFixed(0)} %
          </dd>
          <dt>Memory</dt>
          <dd>
            {count(result.memoryMiB)} MiB at most, on {result.device} in {result.precision}
          </dd>
          <dt>A checkpoint</dt>
          <dd>
            {result.checkpointMiB.toFixed(1)} MiB, {count(result.parameters)} trained parameters
          </dd>
        </dl>
      )}
    </section>
  );
}

function Begin({ body, folder }: { body: StartRequest; folder: string }) {
  const output = useSignal(`${folder}/runs/first`);
  const isBusy = useSignal(false);
  const failure = useSignal<unknown>(null);
  const begin = async (): Promise<void> => {
    isBusy.value = true;
    failure.value = null;
    try {
      const { run } = await request('POST /api/start/train', { body: { ...body, output: output.value } });
      navigate(href('runs', run));
    } catch (error) {
      failure.value = error;
    } finally {
      isBusy.value = false;
    }
  };
  return (
    <section class="card" aria-labelledby="begin">
      <h2 id="begin">Begin</h2>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          void begin();
        }}
      >
        <label>
          Run folder{' '}
          <input
            type="text"
            class="path"
            required
            value={output.value}
            onInput={(event) => (output.value = event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="main" disabled={isBusy.value}>
          {isBusy.value ? 'Starting…' : 'Start training'}
        </button>
      </form>
      <p class="note">It goes on when this page or the studio is closed; its own page can stop it.</p>
      {failure.value !== null && <Failure error={failure.value} />}
    </section>
  );
}

function Planning({ images, folder }: { images: string; folder: string }) {
  const preset = useSignal<PresetChoice>('auto');
  const text = useSignal('');
  const applied = useSignal('');
  const plan = useSignal<StartPlan | null>(null);
  const failure = useSignal<unknown>(null);
  const body = useComputed((): StartRequest => ({
    images,
    preset: preset.value,
    overrides: parseOverrides(applied.value),
  })).value;
  useEffect(() => {
    const controller = new AbortController();
    failure.value = null;
    plan.value = null;
    request('POST /api/start/plan', { body, signal: controller.signal }).then(
      (found) => (plan.value = found),
      (error: unknown) => {
        if (!controller.signal.aborted) failure.value = error;
      },
    );
    return () => controller.abort();
  }, [body]);
  return (
    <>
      <section class="card" aria-labelledby="settings">
        <h2 id="settings">Settings</h2>
        <form
          class="settings"
          onSubmit={(event) => {
            event.preventDefault();
            applied.value = text.value;
          }}
        >
          <label>
            Preset{' '}
            <select
              value={preset.value}
              onChange={(event) => (preset.value = event.currentTarget.value as PresetChoice)}
            >
              <option value="auto">auto: chosen for these images and this machine</option>
              <option value="paper">paper: the reference’s defaults</option>
            </select>
          </label>
          <label>
            Your own settings, one a line
            <textarea
              rows={3}
              placeholder={'epochs 20\nout-dim 256'}
              value={text.value}
              onInput={(event) => (text.value = event.currentTarget.value)}
            />
          </label>
          <button type="submit">Apply</button>
        </form>
        {failure.value !== null && <Failure error={failure.value} />}
        {plan.value === null ? (
          failure.value === null && <Loading what="what would be chosen" />
        ) : (
          <PlanTable plan={plan.value} />
        )}
      </section>
      {plan.value !== null && (
        <>
          <Crops body={body} />
          <Trial body={body} />
          <Begin body={body} folder={folder} />
        </>
      )}
    </>
  );
}

export default function Start() {
  const images = route.value.query.get('images');
  const folder = useSignal<string | null>(null);
  useEffect(() => {
    request('GET /api/studio', {}).then(
      (info) => (folder.value = info.folders[0] ?? ''),
      () => undefined,
    );
  }, []);
  return (
    <>
      <section class="card">
        <h1>Start a training</h1>
        {images === null ? (
          <p>Choose the folder of images to learn from. No labels are needed.</p>
        ) : (
          <p class="row">
            <code class="where">{images}</code>
            <button type="button" onClick={() => setQuery('images', null)}>
              Choose another folder
            </button>
          </p>
        )}
      </section>
      {images === null ? (
        <Browse choose={(path) => setQuery('images', path)} />
      ) : (
        <>
          <Inspection images={images} />
          {folder.value !== null && <Planning key={images} images={images} folder={folder.value} />}
        </>
      )}
    </>
  );
}
