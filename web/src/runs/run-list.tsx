/** The list of runs: searched, sorted, some of them hidden, several ticked to be compared. */
import { useEffect } from 'preact/hooks';
import type { RunSummary } from '../api.ts';
import { keyClass } from '../charts/plot.ts';
import { href, route, setQuery } from '../router.ts';
import { count, when } from '../ui/format.ts';
import { Failure } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';
import { idsOf, keepList, listed } from './ids.ts';
import { colourOf } from './run-colours.ts';
import { StateMark } from './state-mark.tsx';

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
const orderOf = (name: string | null): Order =>
  name !== null && name in ORDERS ? (name as Order) : 'changed';

/** Runs whose name, state, network or note has these words. */
export function matching(list: readonly RunSummary[], words: string): RunSummary[] {
  const wanted = words.toLowerCase();
  return list.filter(({ name, state, arch, note }) =>
    `${name} ${state} ${arch ?? ''} ${note}`.toLowerCase().includes(wanted),
  );
}

interface RowProps {
  run: RunSummary;
  isPicked: boolean;
  pick: (on: boolean) => void;
}

function Row({ run, isPicked, pick }: RowProps) {
  const { ask, isBusy, error } = useRequest('POST /api/runs/:run/hidden');
  const hide = (): void => void ask({ params: { run: run.id }, body: { isHidden: !run.isHidden } });
  return (
    <tr class={run.isHidden ? 'is-hidden' : undefined}>
      <td>
        <input
          type="checkbox"
          aria-label={`Compare ${run.name}`}
          checked={isPicked}
          onChange={(event) => pick(event.currentTarget.checked)}
        />
      </td>
      <th scope="row">
        <a class={keyClass(colourOf(run.id))} href={href('runs', run.id)}>
          {run.name}
        </a>
        {run.note !== '' && <span class="noted">{run.note}</span>}
        {error !== null && <Failure error={error} />}
      </th>
      <td>
        <StateMark state={run.state} />
      </td>
      <td class="steps">
        {run.step === null ? '–' : count(run.step)}
        {run.totalSteps !== null && ` of ${count(run.totalSteps)}`}
      </td>
      <td class="wide">{run.arch ?? '–'}</td>
      <td class="wide">{run.changed === null ? '–' : when(run.changed)}</td>
      <td class="wide note sentence">{run.sentence}</td>
      <td>
        <button
          type="button"
          class="quiet"
          disabled={isBusy}
          aria-label={`${run.isHidden ? 'Show' : 'Hide'} ${run.name}`}
          onClick={hide}
        >
          {run.isHidden ? 'Show' : 'Hide'}
        </button>
      </td>
    </tr>
  );
}

/** This many runs are seen at a glance. */
const FEW = 4;

function Finder({ list, shown }: { list: readonly RunSummary[]; shown: number }) {
  const { query } = route.value;
  const hidden = list.filter(({ isHidden }) => isHidden).length;
  if (list.length <= FEW && hidden === 0) return null;
  return (
    <p class="row">
      {list.length > FEW && (
        <>
          <label>
            Find{' '}
            <input
              type="search"
              placeholder="name, state, network, note"
              value={query.get('find') ?? ''}
              onInput={(event) => setQuery('find', event.currentTarget.value || null)}
            />
          </label>
          <label>
            Sorted by{' '}
            <select
              value={orderOf(query.get('sort'))}
              onInput={(event) =>
                setQuery('sort', event.currentTarget.value === 'changed' ? null : event.currentTarget.value)
              }
            >
              {(Object.keys(ORDERS) as Order[]).map((one) => (
                <option key={one} value={one}>
                  {ORDERS[one].title}
                </option>
              ))}
            </select>
          </label>
        </>
      )}
      {hidden > 0 && (
        <label>
          <input
            type="checkbox"
            checked={query.get('hidden') === '1'}
            onChange={(event) => setQuery('hidden', event.currentTarget.checked ? '1' : null)}
          />{' '}
          Show hidden runs ({count(hidden)})
        </label>
      )}
      <span class="note" role="status">
        {shown < list.length && `${count(shown)} of ${count(list.length)} runs`}
      </span>
    </p>
  );
}

const HEAD = ['Run', 'State', 'Steps'] as const;
/** Left out on a phone. */
const WIDE_HEAD = ['Network', 'Last update', 'Summary'] as const;

export function RunList({ list }: { list: readonly RunSummary[] }) {
  const { query } = route.value;
  const picked = idsOf('ticked');
  const pick = (id: string, on: boolean): void =>
    setQuery('ticked', listed(on ? [...picked, id] : picked.filter((one) => one !== id)));
  const [first, ...others] = picked.filter((id) => list.some((run) => run.id === id));
  useEffect(keepList, [query]);
  const visible = list.filter(({ isHidden }) => !isHidden || query.get('hidden') === '1');
  const shown = matching(visible, query.get('find') ?? '').sort(ORDERS[orderOf(query.get('sort'))].compare);
  return (
    <section class="card run-list">
      <h1>Runs</h1>
      <Finder list={list} shown={shown.length} />
      <div class="scroll" tabIndex={0}>
        <table class="runs">
          <thead>
            <tr>
              <th scope="col">
                <span class="hidden">Compare</span>
              </th>
              {HEAD.map((title) => (
                <th key={title} scope="col">
                  {title}
                </th>
              ))}
              {WIDE_HEAD.map((title) => (
                <th key={title} scope="col" class="wide">
                  {title}
                </th>
              ))}
              <th scope="col">
                <span class="hidden">Hide or show</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {shown.map((run) => (
              <Row
                key={run.id}
                run={run}
                isPicked={picked.includes(run.id)}
                pick={(on) => pick(run.id, on)}
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
