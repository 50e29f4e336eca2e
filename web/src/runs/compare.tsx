/** Several runs at once: which are compared, which of them are drawn, and what differs. */
import { useSignal } from '@preact/signals';
import { type RunSummary, valueOf } from '../api.ts';
import type { Curves } from '../charts/curves.ts';
import { keyClass } from '../charts/plot.ts';
import { runs } from '../live.ts';
import { href, navigate, setQuery } from '../router.ts';
import { count, setting, short } from '../ui/format.ts';
import { ModelActions } from '../ui/model-actions.tsx';
import { useTitle } from '../ui/title.ts';
import { listAddress, listed } from './ids.ts';
import { matching } from './run-list.tsx';
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
                  <span class={keyClass(color)}>{run.name}</span>
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

/** With more runs than this, a search field is shown. */
const FEW = 6;

interface OthersProps {
  /** The run that the page is about. */
  id: string;
  others: readonly string[];
}

/** Chooses the runs that are compared with this one. */
function Choice({ id, others }: OthersProps) {
  const words = useSignal('');
  const list = (runs.value ?? []).filter(
    (run) => run.id !== id && (!run.isHidden || others.includes(run.id)),
  );
  const toggle = (other: string, isOn: boolean): void =>
    setQuery('with', listed(isOn ? [...others, other] : others.filter((one) => one !== other)));
  return (
    <>
      {list.length > FEW && (
        <label>
          Find{' '}
          <input
            type="search"
            value={words.value}
            onInput={(event) => (words.value = event.currentTarget.value)}
          />
        </label>
      )}
      <ul class="others">
        {matching(list, words.value).map((run) => (
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
    </>
  );
}

const hasOthers = (id: string): boolean => (runs.value ?? []).some((run) => run.id !== id);

/** On the page of one run. */
export function Others({ id, others }: OthersProps) {
  if (!hasOthers(id)) return null;
  return (
    <section class="card">
      <details>
        <summary>Compare with other runs</summary>
        <Choice id={id} others={others} />
      </details>
    </section>
  );
}

interface LegendEntryProps {
  one: ShownRun;
  /** As the list has it now. */
  run: RunSummary;
  isOff: boolean;
  onToggle: () => void;
  onRemove: () => void;
}

function LegendEntry({ one: { color, details }, run, isOff, onToggle, onRemove }: LegendEntryProps) {
  return (
    <li class={isOff ? 'is-off' : undefined}>
      <label>
        <input type="checkbox" aria-label={`Draw ${run.name}`} checked={!isOff} onChange={onToggle} />{' '}
        <span class={keyClass(color)} />
      </label>
      <a href={href('runs', run.id)}>{run.name}</a>
      <StateMark state={run.state} />
      {run.note !== '' && <span class="noted">{run.note}</span>}
      {(details?.checkpoints.length ?? 0) > 0 && <ModelActions model={run} name={run.name} />}
      <button type="button" class="quiet" aria-label={`Remove ${run.name}`} onClick={onRemove}>
        Remove
      </button>
    </li>
  );
}

interface CompareHeadProps extends OthersProps {
  shown: readonly ShownRun[];
  /** Runs that are not drawn. */
  off: readonly string[];
}

/** The runs that are compared: their colours, which of them are drawn, and others to add. */
export function CompareHead({ id, others, shown, off }: CompareHeadProps) {
  useTitle(`${shown.length} runs compared`);
  const remove = (gone: string): void => {
    if (gone !== id) return setQuery('with', listed(others.filter((one) => one !== gone)));
    const [next, ...rest] = others;
    navigate(href('runs', next!) + (rest.length === 0 ? '' : `?with=${rest.join(',')}`));
  };
  const toggle = (one: string): void =>
    setQuery('off', listed(off.includes(one) ? off.filter((other) => other !== one) : [...off, one]));
  return (
    <section class="card compare-head">
      <p class="note back">
        <a href={listAddress()}>All runs</a>
      </p>
      <h1>{count(shown.length)} runs compared</h1>
      <ul class="legend-runs" aria-label="Runs">
        {shown.map((one) => (
          <LegendEntry
            key={one.run.id}
            one={one}
            run={(runs.value ?? []).find((run) => run.id === one.run.id) ?? one.run}
            isOff={off.includes(one.run.id)}
            onToggle={() => toggle(one.run.id)}
            onRemove={() => remove(one.run.id)}
          />
        ))}
      </ul>
      <details>
        <summary>Choose the runs</summary>
        <Choice id={id} others={others} />
      </details>
    </section>
  );
}
