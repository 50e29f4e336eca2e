/** What is known about the runs that are shown together: their entries in the list, and their details. */
import { useComputed } from '@preact/signals';
import { useMemo, useRef } from 'preact/hooks';
import { request, type RunDetails, type RunSummary } from '../api.ts';
import type { Curves } from '../charts/curves.ts';
import { runs } from '../live.ts';
import { useAnswer } from '../use-answer.ts';

/** Runs of the list, the same objects until something other than their numbers has changed. */
export function useSummaries(ids: readonly string[]): ReadonlyMap<string, RunSummary> {
  const find = (list: readonly RunSummary[] | null) => (list ?? []).filter(({ id }) => ids.includes(id));
  const shape = useComputed(() =>
    JSON.stringify(find(runs.value).map((run) => [run.id, run.name, run.state, run.stepsPerEpoch])),
  ).value;
  return useMemo(() => new Map(find(runs.peek()).map((run) => [run.id, run])), [ids.join(), shape]);
}

/** By the runs' ids. */
interface Known {
  details: ReadonlyMap<string, RunDetails>;
  errors: ReadonlyMap<string, unknown>;
}

const NOTHING: Known = { details: new Map(), errors: new Map() };

/** The details of runs, fetched again when their curves show that they are old, or a state has changed. */
export function useDetails(
  ids: readonly string[],
  summaries: ReadonlyMap<string, RunSummary>,
  curves: Curves,
): Known {
  const details = useRef(new Map<string, RunDetails>()).current;
  const errors = useRef(new Map<string, unknown>()).current;
  const marks = useComputed(() =>
    JSON.stringify([...curves.nows.value].map(([id, { detailsMark }]) => [id, detailsMark])),
  ).value;
  const isOld = (id: string): boolean => {
    const known = details.get(id);
    const mark = curves.nows.peek().get(id)?.detailsMark;
    const isOtherMark = mark !== undefined && mark !== known?.mark;
    return known === undefined || isOtherMark || known.summary.state !== summaries.get(id)?.state;
  };
  const load = async (run: string, signal?: AbortSignal): Promise<void> => {
    try {
      details.set(run, await request('GET /api/runs/:run', { params: { run } }, signal));
      errors.delete(run);
    } catch (error) {
      if (!signal?.aborted) errors.set(run, error); // the other runs' details are shown all the same
    }
  };
  const loadOld = async (_: object, signal?: AbortSignal): Promise<Known> => {
    await Promise.all(ids.filter(isOld).map((id) => load(id, signal)));
    return { details: new Map(details), errors: new Map(errors) };
  };
  const question = useMemo(() => ({}), [summaries, marks]);
  return useAnswer(loadOld, question, { keep: true }).answer ?? NOTHING;
}
