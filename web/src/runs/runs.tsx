/** Runs: what is being trained, and what was. */
import { useSignal } from '@preact/signals';
import { shellPath } from '../../../src/plain/shell.ts';
import type { RunSummary } from '../api.ts';
import { runs } from '../live.ts';
import { href, route } from '../router.ts';
import { Command } from '../ui/command.tsx';
import { count, when } from '../ui/format.ts';
import { Loading } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';
import { RunPage } from './run.tsx';
import { StateMark } from './state-mark.tsx';
import './runs.css';

function Row({ run, isPicked, pick }: { run: RunSummary; isPicked: boolean; pick: (on: boolean) => void }) {
  return (
    <tr>
      <td>
        <input
          type="checkbox"
          aria-label={`Compare ${run.name}`}
          checked={isPicked}
          onChange={(event) => pick(event.currentTarget.checked)}
        />
      </td>
      <th scope="row">
        <a href={href('runs', run.id)}>{run.name}</a>
      </th>
      <td>
        <StateMark state={run.state} />
      </td>
      <td>
        {run.step === null ? '–' : count(run.step)}
        {run.totalSteps !== null && ` of ${count(run.totalSteps)}`}
      </td>
      <td>{run.arch ?? '–'}</td>
      <td>{run.changed === null ? '–' : when(run.changed)}</td>
      <td class="note sentence">{run.sentence}</td>
    </tr>
  );
}

/** What a newcomer may do first. */
function FirstSteps() {
  const { answer: studio } = useRequest('GET /api/studio', {});
  const folder = studio?.folders[0];
  return (
    <>
      <section class="card">
        <h1>Runs</h1>
        <p>
          There are no runs in this studio’s folders yet. One appears here as soon as its folder exists. To
          begin:
        </p>
      </section>
      <div class="cards">
        <section class="card" aria-labelledby="first-demo">
          <h2 id="first-demo">Run the demo</h2>
          <p>
            Makes pictures of twenty kinds of things, trains on them without labels, and shows what was
            learned. It takes a few minutes and needs nothing else.
          </p>
          <Command>{`dino demo --output ${shellPath(folder === undefined ? 'demo' : `${folder}/demo`)}`}</Command>
        </section>
        <section class="card" aria-labelledby="first-train">
          <h2 id="first-train">Train on a folder</h2>
          <p>
            Choose a folder of images of your own. No labels are needed, and the settings are chosen for you.
          </p>
          <a class="button main" href={href('start')}>
            Choose images
          </a>
        </section>
        <section class="card" aria-labelledby="first-model">
          <h2 id="first-model">Open a model</h2>
          <p>See what a trained model attends to in a picture: a run, or a file of weights that you have.</p>
          <a class="button main" href={href('look')}>
            Look at a picture
          </a>
        </section>
      </div>
    </>
  );
}

/** What the list can be sorted by, and how. */
const ORDERS = {
  changed: { title: 'newest first', compare: () => 0 }, // as it comes
  name: {
    title: 'name',
    compare: (a: RunSummary, b: RunSummary) => a.name.localeCompare(b.name, 'en', { numeric: true }),
  },
  step: { title: 'most steps', compare: (a: RunSummary, b: RunSummary) => (b.step ?? 0) - (a.step ?? 0) },
  state: { title: 'state', compare: (a: RunSummary, b: RunSummary) => a.state.localeCompare(b.state) },
} as const;
type Order = keyof typeof ORDERS;

/** So many runs are seen at a glance. */
const FEW = 4;

function List({ list }: { list: readonly RunSummary[] }) {
  const picked = useSignal<readonly string[]>([]);
  const words = useSignal('');
  const order = useSignal<Order>('changed');
  const [first, ...others] = picked.value.filter((id) => list.some((run) => run.id === id));
  const shown = list
    .filter((run) => `${run.name} ${run.state} ${run.arch}`.toLowerCase().includes(words.value.toLowerCase()))
    .sort(ORDERS[order.value].compare);
  return (
    <section class="card">
      <h1>Runs</h1>
      {list.length > FEW && (
        <p class="row">
          <label>
            Find{' '}
            <input
              type="search"
              placeholder="name, state, network"
              value={words.value}
              onInput={(event) => (words.value = event.currentTarget.value)}
            />
          </label>
          <label>
            Sorted by{' '}
            <select
              value={order.value}
              onInput={(event) => (order.value = event.currentTarget.value as Order)}
            >
              {(Object.keys(ORDERS) as Order[]).map((one) => (
                <option key={one} value={one}>
                  {ORDERS[one].title}
                </option>
              ))}
            </select>
          </label>
          <span class="note">{shown.length < list.length && `${shown.length} of ${list.length} runs`}</span>
        </p>
      )}
      <div class="scroll">
        <table class="runs">
          <thead>
            <tr>
              <th scope="col">
                <span class="hidden">Compare</span>
              </th>
              <th scope="col">Run</th>
              <th scope="col">State</th>
              <th scope="col">Steps</th>
              <th scope="col">Network</th>
              <th scope="col">Last update</th>
              <th scope="col">Summary</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((run) => (
              <Row
                key={run.id}
                run={run}
                isPicked={picked.value.includes(run.id)}
                pick={(on) =>
                  (picked.value = on ? [...picked.value, run.id] : picked.value.filter((id) => id !== run.id))
                }
              />
            ))}
          </tbody>
        </table>
      </div>
      <p class="row">
        {first !== undefined && others.length > 0 ? (
          <a class="button main" href={`${href('runs', first)}?with=${others.join(',')}`}>
            Compare {others.length + 1} runs
          </a>
        ) : (
          <span class="note">Tick two or more to compare them.</span>
        )}
      </p>
    </section>
  );
}

export function Runs() {
  const list = runs.value;
  const id = route.value.parts[1];
  if (id !== undefined) return <RunPage key={id} id={id} />;
  if (list === null) return <Loading what="runs" />;
  return list.length === 0 ? <FirstSteps /> : <List list={list} />;
}
