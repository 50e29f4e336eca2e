/** One run, alone or compared with others. */
import { useComputed } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import type { RunDetails, RunSummary } from '../api.ts';
import { Curves, type View } from '../charts/curves.ts';
import type { Axis } from '../charts/series.ts';
import { runs } from '../live.ts';
import { route } from '../router.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { RunCharts } from './charts.tsx';
import { CompareHead, Comparison, Others } from './compare.tsx';
import { DetailsCard } from './details.tsx';
import { Emergence } from './emergence.tsx';
import { Head } from './head.tsx';
import { idsOf, listAddress } from './ids.ts';
import { colourOf } from './run-colours.ts';
import type { ShownRun } from './traces.ts';
import { useDetails, useSummaries } from './use-runs.ts';

/** The axis that the address asks for. */
const axisOfAddress = (): Axis => {
  const given = route.peek().query.get('x');
  return given === 'epoch' || given === 'time' ? given : 'step';
};

/** The part of the curves that the address asks for, on its axis; null: all. */
function partOfAddress(): View | null {
  const { query } = route.peek();
  const [from = NaN, to = NaN] = ['from', 'to'].map((name) => {
    const text = query.get(name);
    return text === null || text === '' ? NaN : Number(text);
  });
  return from < to && Number.isFinite(to - from) ? { from, to } : null;
}

interface CurrentHeadProps {
  /** Shown when the run is no longer in the list. */
  run: RunSummary;
  details: RunDetails | undefined;
  curves: Curves;
}

/** Drawn again with every line, as the rest of the page is not. */
function CurrentHead({ run: known, details, curves }: CurrentHeadProps) {
  const run = (runs.value ?? []).find(({ id }) => id === known.id) ?? known;
  return <Head {...{ run, details }} now={curves.now(run.id)} />;
}

export function RunPage({ id }: { id: string }) {
  const others = idsOf('with').filter((one) => one !== id);
  const ids = [id, ...others];
  const curves = useMemo(() => new Curves(axisOfAddress(), partOfAddress()), []);
  useEffect(() => () => curves.dispose(), [curves]);
  const summaries = useSummaries(ids);
  const { details, errors } = useDetails(ids, summaries, curves);
  const shown = useMemo(
    () =>
      ids.flatMap((one): ShownRun[] => {
        const found = details.get(one);
        const run = summaries.get(one) ?? found?.summary;
        return run === undefined ? [] : [{ run, details: found ?? null, color: colourOf(one) }];
      }),
    [summaries, details],
  );
  const off = idsOf('off');
  const drawn = useMemo(() => shown.filter((one) => !off.includes(one.run.id)), [shown, off.join()]);
  const isListed = useComputed(() => runs.value !== null).value;
  if (!isListed) return <Loading what="the run" />;
  const run = shown[0]?.run;
  if (run?.id !== id) {
    return (
      <section class="card">
        <h1>Run</h1>
        <Failure error={new Error('This run is not there (any more): its folder was moved or deleted.')}>
          <a href={listAddress()}>All runs</a>
        </Failure>
      </section>
    );
  }
  const isGone = !summaries.has(id);
  const own = details.get(id);
  const isComparing = shown.length > 1;
  const failures = [...errors].map(([one, error]) => isGone || <Failure key={one} error={error} />);
  return (
    <>
      {isGone && (
        <Failure
          error={new Error('The folder of this run was moved or deleted. This page shows what it last held.')}
        />
      )}
      {isComparing ? (
        <>
          <CompareHead {...{ id, others, shown, off }} />
          {failures}
          {drawn.length > 0 && (
            <>
              <RunCharts shown={drawn} curves={curves} />
              <Emergence key={drawn.map((one) => one.run.id).join()} shown={drawn} curves={curves} />
              <Comparison shown={drawn} curves={curves} />
            </>
          )}
        </>
      ) : (
        <>
          <CurrentHead run={run} details={own} curves={curves} />
          {failures}
          <Emergence key={id} shown={shown} curves={curves} />
          <RunCharts shown={shown} curves={curves} />
          <Others id={id} others={others} />
          {own !== undefined && <DetailsCard details={own} />}
        </>
      )}
    </>
  );
}
