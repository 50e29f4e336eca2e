/** One run, alone or compared with others. */
import { useComputed } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import type { RunDetails, RunSummary } from '../api.ts';
import { Curves } from '../charts/curves.ts';
import type { Axis } from '../charts/series.ts';
import { runs } from '../live.ts';
import { href, route } from '../router.ts';
import { bytes, count } from '../ui/format.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';
import { RunCharts } from './charts.tsx';
import { Comparison, Others } from './compare.tsx';
import { DetailsCard } from './details.tsx';
import { Film } from './film.tsx';
import { StateMark } from './state-mark.tsx';
import type { ShownRun } from './traces.ts';
import { useDetails, useSummaries } from './use-runs.ts';

/** The axis that the address asks for. */
const axisOfAddress = (): Axis => {
  const given = route.peek().query.get('x');
  return given === 'epoch' || given === 'time' ? given : 'step';
};

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

interface ActionProps {
  run: RunSummary;
  what: 'stop' | 'resume';
  words: string;
  busyWords: string;
}

function Action({ run, what, words, busyWords }: ActionProps) {
  const { ask, isBusy, error } = useRequest(`POST /api/runs/:run/${what}`);
  return (
    <>
      <button type="button" disabled={isBusy} onClick={() => void ask({ params: { run: run.id } })}>
        {isBusy ? busyWords : words}
      </button>
      {error !== null && <Failure error={error} />}
    </>
  );
}

/** Stops a training, or resumes one. */
function Actions({ run }: { run: RunSummary }) {
  const stop = 'Stop after this step';
  if (['preparing', 'running', 'waiting'].includes(run.state))
    return <Action key="stop" run={run} what="stop" words={stop} busyWords={stop} />;
  if (['stopped', 'crashed'].includes(run.state))
    return <Action key="resume" run={run} what="resume" words="Resume" busyWords="Resuming…" />;
  return null;
}

interface HeadProps {
  /** Shown when the run is no longer in the list. */
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
          error={new Error('The folder of this run was moved or deleted. This page shows what it last held.')}
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
