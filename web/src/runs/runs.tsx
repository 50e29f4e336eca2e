/** Runs: what is being trained, and what was. */
import { useSignal } from '@preact/signals';
import type { RunSummary } from '../api.ts';
import { runs } from '../live.ts';
import { href, route } from '../router.ts';
import { count, when } from '../ui/format.ts';
import { Loading } from '../ui/parts.tsx';
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

function List({ list }: { list: readonly RunSummary[] }) {
  const picked = useSignal<readonly string[]>([]);
  const [first, ...others] = picked.value.filter((id) => list.some((run) => run.id === id));
  if (list.length === 0) {
    return (
      <section class="card">
        <h1>Runs</h1>
        <p>There is no run in this studio’s folders yet. One appears here as soon as its folder exists.</p>
        <p>
          <code>dino train photos --output runs/first</code>
        </p>
      </section>
    );
  }
  return (
    <section class="card">
      <h1>Runs</h1>
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
            {list.map((run) => (
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
          <a href={`${href('runs', first)}?with=${others.join(',')}`}>Compare {others.length + 1} runs</a>
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
  return <List list={list} />;
}
