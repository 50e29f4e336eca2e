/** Start: choose images, see what is in them and what training would see, try it, begin. */
import { useComputed, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { type PresetChoice, request, type StartPlan, type StartRequest } from '../api.ts';
import { href, navigate, route, setQuery } from '../router.ts';
import { count, setting } from '../runs/format.ts';
import { SettingsTable } from '../runs/settings-table.tsx';
import { Browse } from '../start/browse.tsx';
import { Crops } from '../start/crops.tsx';
import { Inspection } from '../start/inspection.tsx';
import { Trial } from '../start/trial.tsx';
import { Failure, Loading } from '../ui/parts.tsx';
import './start.css';

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
        <SettingsTable settings={Object.entries(plan.settings).filter(([name]) => !chosen.has(name))} />
      </details>
    </>
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
