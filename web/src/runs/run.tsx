/** One run, alone or with others over it. */
import { useComputed } from '@preact/signals';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { request, type RunDetails, type RunSummary, valueOf } from '../api.ts';
import { Film } from '../attention/film.tsx';
import { Curves } from '../charts/curves.ts';
import type { Axis } from '../charts/series.ts';
import { runs } from '../live.ts';
import { href, navigate, route } from '../router.ts';
import { Failure, Loading, StateMark } from '../ui/parts.tsx';
import { RunCharts, type ShownRun } from './charts.tsx';
import { DetailsCard } from './details.tsx';
import { bytes, count, setting, short } from './format.ts';

/** The axis that the address asks for. */
const axisOfAddress = (): Axis => {
  const given = route.peek().query.get('x');
  return given === 'epoch' || given === 'time' ? given : 'step';
};

/** Runs of the list, the same objects until something other than their numbers has changed. */
function useSummaries(ids: readonly string[]): ReadonlyMap<string, RunSummary> {
  const find = (list: readonly RunSummary[] | null) => (list ?? []).filter(({ id }) => ids.includes(id));
  const shape = useComputed(() =>
    JSON.stringify(find(runs.value).map((run) => [run.id, run.name, run.state, run.stepsPerEpoch])),
  ).value;
  return useMemo(() => new Map(find(runs.peek()).map((run) => [run.id, run])), [ids.join(), shape]);
}

/** The details of runs, asked for again when their curves tell that they are old, or a state has changed. */
function useDetails(ids: readonly string[], summaries: ReadonlyMap<string, RunSummary>, curves: Curves) {
  const [details, setDetails] = useState<ReadonlyMap<string, RunDetails>>(new Map());
  const [errors, setErrors] = useState<ReadonlyMap<string, unknown>>(new Map());
  const marks = useComputed(() =>
    JSON.stringify([...curves.nows.value].map(([id, { detailsMark }]) => [id, detailsMark])),
  ).value;
  useEffect(() => {
    const controller = new AbortController();
    const load = async (id: string): Promise<void> => {
      try {
        const found = await request('GET /api/runs/:run', { params: { run: id }, signal: controller.signal });
        setDetails((before) => new Map(before).set(id, found));
        setErrors((before) => new Map([...before].filter(([one]) => one !== id)));
      } catch (error) {
        if (!controller.signal.aborted) setErrors((before) => new Map(before).set(id, error));
      }
    };
    for (const id of ids) {
      const known = details.get(id);
      const mark = curves.nows.peek().get(id)?.detailsMark;
      const isOld = mark !== undefined && mark !== known?.mark;
      if (known === undefined || isOld || known.summary.state !== summaries.get(id)?.state) void load(id);
    }
    return () => controller.abort();
  }, [summaries, marks]);
  return { details, errors };
}

function Progress({ run }: { run: RunSummary }) {
  const { step, totalSteps } = run;
  if (step === null || totalSteps === null) return null;
  const share = Math.min(100, (100 * step) / totalSteps);
  return (
    <label class="done">
      <progress value={step} max={totalSteps} /> {count(step)} of {count(totalSteps)} steps (
      {share.toFixed(0)} %)
    </label>
  );
}

/** Stops a training, or goes on with one. */
function Actions({ run }: { run: RunSummary }) {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const act = async (what: 'stop' | 'resume'): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      await request(`POST /api/runs/:run/${what}`, { params: { run: run.id } });
    } catch (reason) {
      setError(reason);
    } finally {
      setBusy(false);
    }
  };
  const canStop = ['preparing', 'running', 'waiting'].includes(run.state);
  const canResume = ['stopped', 'crashed'].includes(run.state);
  return (
    <>
      {canStop && (
        <button type="button" disabled={isBusy} onClick={() => void act('stop')}>
          Stop after this step
        </button>
      )}
      {canResume && (
        <button type="button" disabled={isBusy} onClick={() => void act('resume')}>
          {isBusy ? 'Resuming…' : 'Resume'}
        </button>
      )}
      {error !== null && <Failure error={error} />}
    </>
  );
}

interface HeadProps {
  /** What is shown of a run that is not in the list any more. */
  run: RunSummary;
  details: RunDetails | undefined;
  curves: Curves;
}

function Head({ run: known, details, curves }: HeadProps) {
  const run = (runs.value ?? []).find(({ id }) => id === known.id) ?? known;
  const progress = curves.now(run.id);
  const verdict = progress?.verdict ?? null;
  const isReading =
    progress !== undefined && progress.size > progress.bytes && progress.size - progress.bytes > 2 ** 20;
  return (
    <section class="card">
      <p class="note back">
        <a href={href('runs')}>All runs</a>
      </p>
      <h1>{run.name}</h1>
      <div class="row">
        <StateMark state={run.state} />
        <span class="sentence">{run.sentence}</span>
        <Actions run={run} />
      </div>
      <Progress run={run} />
      {isReading && (
        <p class="note" role="status">
          Reading its metrics: {bytes(progress.bytes)} of {bytes(progress.size)}, {count(progress.lines)}{' '}
          lines.
        </p>
      )}
      {verdict !== null && (
        <p class={`verdict ${verdict.kind}`} role="status">
          {verdict.message}
        </p>
      )}
      {(details?.problems ?? []).map((problem) => (
        <p key={problem} class="failure">
          {problem}
        </p>
      ))}
    </section>
  );
}

/** Settings in which the runs differ, and where each stands. */
function Comparison({ shown, curves }: { shown: readonly ShownRun[]; curves: Curves }) {
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
      <h2 id="differences">Where they differ</h2>
      <div class="scroll" tabIndex={0}>
        <table class="differences">
          <thead>
            <tr>
              <td />
              {shown.map(({ run }, i) => (
                <th scope="col" key={run.id}>
                  <span class={`key series-${i % 6}`}>{run.name}</span>
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

function Others({ id, others }: { id: string; others: readonly string[] }) {
  const list = (runs.value ?? []).filter((run) => run.id !== id);
  if (list.length === 0) return null;
  const toggle = (other: string, isOn: boolean): void => {
    const next = isOn ? [...others, other] : others.filter((one) => one !== other);
    const query = new URLSearchParams(route.peek().query);
    if (next.length === 0) query.delete('with');
    else query.set('with', next.join(','));
    const search = query.toString();
    navigate(href('runs', id) + (search === '' ? '' : `?${search}`), { replace: true });
  };
  return (
    <section class="card">
      <details open={others.length > 0}>
        <summary>Draw other runs over it</summary>
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

export function RunPage({ id }: { id: string }) {
  const others = (route.value.query.get('with') ?? '').split(',').filter((one) => one !== '' && one !== id);
  const ids = [id, ...others];
  const curves = useMemo(() => new Curves(axisOfAddress()), []);
  useEffect(() => () => curves.dispose(), [curves]);
  const summaries = useSummaries(ids);
  const { details, errors } = useDetails(ids, summaries, curves);
  const shown = useMemo(
    () =>
      ids.flatMap((one): ShownRun[] => {
        const found = details.get(one);
        const run = summaries.get(one) ?? found?.summary;
        return run === undefined ? [] : [{ run, details: found ?? null }];
      }),
    [summaries, details],
  );
  const isListed = useComputed(() => runs.value !== null).value;
  if (!isListed) return <Loading what="the run" />;
  const run = shown[0]?.run;
  if (run?.id !== id) {
    return (
      <section class="card">
        <h1>Run</h1>
        <Failure error={new Error('This run is not there (any more): its folder was moved or deleted.')}>
          <a href={href('runs')}>All runs</a>
        </Failure>
      </section>
    );
  }
  const isGone = !summaries.has(id);
  const own = details.get(id);
  return (
    <>
      {isGone && (
        <Failure
          error={
            new Error('The folder of this run was moved or deleted; what is shown is what it last held.')
          }
        />
      )}
      <Head run={run} details={own} curves={curves} />
      {[...errors].map(([one, error]) => isGone || <Failure key={one} error={error} />)}
      {shown.length > 1 && <Comparison shown={shown} curves={curves} />}
      <RunCharts shown={shown} curves={curves} />
      {shown.length === 1 && <Film run={run.id} isLive={run.state === 'running'} />}
      <Others id={id} others={others} />
      {own !== undefined && <DetailsCard details={own} />}
    </>
  );
}
