/** Several runs at once: what differs, and which are chosen. */
import { valueOf } from '../api.ts';
import type { Curves } from '../charts/curves.ts';
import { traceColor } from '../charts/plot.ts';
import { runs } from '../live.ts';
import { setQuery } from '../router.ts';
import { count, setting, short } from '../ui/format.ts';
import { StateMark } from './state-mark.tsx';
import type { ShownRun } from './traces.ts';

/** Where each run stands, and the settings in which they differ. */
export function Comparison({ shown, curves }: { shown: readonly ShownRun[]; curves: Curves }) {
  const settings = shown.map(({ details }) => (details?.config?.settings ?? {}) as Record<string, unknown>);
  const names = [...new Set(settings.flatMap((one) => Object.keys(one)))].filter(
    (name) => new Set(settings.map((one) => JSON.stringify(valueOf(one, name)))).size > 1,
  );
  const data = new Set(shown.map(({ details }) => details?.config?.fingerprint));
  const rows: [string, (one: ShownRun, index: number) => string][] = [
    ['loss', ({ run }) => short(curves.now(run.id)?.last?.values['loss'] ?? NaN)],
    [
      'steps',
      ({ run }) =>
        `${count(curves.now(run.id)?.last?.step ?? run.step ?? 0)} of ${run.totalSteps === null ? '?' : count(run.totalSteps)}`,
    ],
    ...names.map((name): [string, (one: ShownRun, index: number) => string] => [
      name,
      (_, index) => setting(valueOf(settings[index]!, name)),
    ]),
  ];
  return (
    <section class="card" aria-labelledby="differences">
      <h2 id="differences">What differs</h2>
      <div class="scroll" tabIndex={0}>
        <table class="differences">
          <thead>
            <tr>
              <td />
              {shown.map(({ run, color }) => (
                <th scope="col" key={run.id}>
                  <span class={`key ${traceColor(color)}`}>{run.name}</span>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map(([name, value]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                {shown.map((one, i) => (
                  <td key={one.run.id}>{value(one, i)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {names.length === 0 && <p class="note">No setting differs.</p>}
      {data.size > 1 && <p class="note">They were trained on different data.</p>}
    </section>
  );
}

/** Chooses the runs that are drawn over this one. */
export function Others({ id, others }: { id: string; others: readonly string[] }) {
  const list = (runs.value ?? []).filter((run) => run.id !== id);
  if (list.length === 0) return null;
  const toggle = (other: string, isOn: boolean): void => {
    const next = isOn ? [...others, other] : others.filter((one) => one !== other);
    setQuery('with', next.length === 0 ? null : next.join(','));
  };
  return (
    <section class="card">
      <details open={others.length > 0}>
        <summary>Compare with other runs</summary>
        <ul class="others">
          {list.map((run) => (
            <li key={run.id}>
              <label>
                <input
                  type="checkbox"
                  checked={others.includes(run.id)}
                  onChange={(event) => toggle(run.id, event.currentTarget.checked)}
                />{' '}
                {run.name} <StateMark state={run.state} />
              </label>
            </li>
          ))}
        </ul>
      </details>
    </section>
  );
}
