/** The top of a run's page: how it stands, and what can be done with it. */
import type { RunDetails, RunNow, RunSummary } from '../api.ts';
import { isHeard } from '../live.ts';
import { bytes, count } from '../ui/format.ts';
import { ModelActions } from '../ui/model-actions.tsx';
import { Failure } from '../ui/parts.tsx';
import { useTitle } from '../ui/title.ts';
import { useRequest } from '../use-request.ts';
import { listAddress } from './ids.ts';
import { Note } from './note.tsx';
import { StateMark } from './state-mark.tsx';
import { shareOf, Tiles } from './tiles.tsx';

interface ActionProps {
  run: RunSummary;
  what: 'stop' | 'resume';
  words: string;
  /** Shown from the click until the run's state changes. */
  busyWords: string;
  busyNote: string;
}

function Action({ run, what, words, busyWords, busyNote }: ActionProps) {
  const { answer, ask, isBusy, error } = useRequest(`POST /api/runs/:run/${what}`);
  const isAsked = isBusy || answer !== null;
  return (
    <>
      <button type="button" disabled={isAsked} onClick={() => void ask({ params: { run: run.id } })}>
        {isAsked ? busyWords : words}
      </button>
      {isAsked && (
        <span class="note" role="status">
          {busyNote}
        </span>
      )}
      {error !== null && <Failure error={error} />}
    </>
  );
}

/** Stops a training, or resumes one. */
function Actions({ run }: { run: RunSummary }) {
  if (['preparing', 'running', 'waiting'].includes(run.state))
    return (
      <Action
        key="stop"
        {...{ run, what: 'stop' }}
        words="Stop after this step"
        busyWords="Stopping…"
        busyNote="It finishes the current step and writes a checkpoint."
      />
    );
  if (['stopped', 'crashed'].includes(run.state))
    return (
      <Action
        key={`resume ${run.changed}`}
        {...{ run, what: 'resume' }}
        words="Resume"
        busyWords="Resuming…"
        busyNote="It continues from its newest checkpoint."
      />
    );
  return null;
}

interface HeadProps {
  run: RunSummary;
  details: RunDetails | undefined;
  now: RunNow | undefined;
}

export function Head({ run, details, now }: HeadProps) {
  const verdict = now?.verdict ?? null;
  const isReading = now !== undefined && now.size > now.bytes && now.size - now.bytes > 2 ** 20;
  const share = shareOf(run);
  const isActive = ['preparing', 'running', 'waiting'].includes(run.state);
  useTitle(isActive && share !== null ? `${Math.floor(100 * share)} % – ${run.name}` : run.name);
  const hasWeights = (details?.checkpoints.length ?? 0) > 0;
  return (
    <section class="card run-head">
      <p class="note back">
        <a href={listAddress()}>All runs</a>
      </p>
      <div class="row">
        <h1>{run.name}</h1>
        <StateMark state={run.state} />
        {!isHeard.value && isActive && <span class="note">when last seen</span>}
        <span class="actions row">
          {isHeard.value && <Actions run={run} />}
          {hasWeights && <ModelActions model={run} />}
        </span>
      </div>
      <Tiles {...{ run, now, details }} />
      {isReading && (
        <p class="note" role="status">
          Reading its metrics: {bytes(now.bytes)} of {bytes(now.size)}, {count(now.lines)} lines.
        </p>
      )}
      <p class="sentence note">{run.sentence}</p>
      <Note run={run} />
      {verdict !== null &&
        (verdict.kind === 'uniform' || verdict.kind === 'constant' ? (
          <p class={`verdict ${verdict.kind}`} role="status">
            {verdict.message}
          </p>
        ) : (
          <details>
            <summary class="note">Health in numbers</summary>
            <p class={`verdict ${verdict.kind}`}>{verdict.message}</p>
          </details>
        ))}
      {(details?.problems ?? []).map((problem) => (
        <p key={problem} class="failure">
          {problem}
        </p>
      ))}
    </section>
  );
}
