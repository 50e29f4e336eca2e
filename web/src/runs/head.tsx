/** The top of a run's page: how it stands, and what can be done with it. */
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { shellPath } from '../../../src/plain/shell.ts';
import type { RunDetails, RunNow, RunSummary } from '../api.ts';
import { connection } from '../live.ts';
import { href } from '../router.ts';
import { bytes, count } from '../ui/format.ts';
import { Command } from '../ui/command.tsx';
import { Failure } from '../ui/parts.tsx';
import { useTitle } from '../ui/title.ts';
import { useRequest } from '../use-request.ts';
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
        busyNote="It finishes the step that it is at, and writes a checkpoint."
      />
    );
  if (['stopped', 'crashed'].includes(run.state))
    return (
      <Action
        key={`resume ${run.changed}`}
        {...{ run, what: 'resume' }}
        words="Resume"
        busyWords="Resuming…"
        busyNote="It reads its newest checkpoint."
      />
    );
  return null;
}

/** How to take the model elsewhere: commands to copy. */
function Export({ path }: { path: string }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [isOpen, setOpen] = useState(false);
  useLayoutEffect(() => {
    if (isOpen) dialog.current?.showModal();
  }, [isOpen]);
  const commands = [
    [
      'A web page that shows the model to others, without a server',
      `dino export ${shellPath(path)} --format web --output page`,
    ],
    ['ONNX, for other programs', `dino export ${shellPath(path)} --format onnx --output model.onnx`],
    ['Features of a folder of images', `dino embed ${shellPath(path)} IMAGES --output features.safetensors`],
  ] as const;
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        Export
      </button>
      {isOpen && (
        <dialog ref={dialog} aria-labelledby="export-title" onClose={() => setOpen(false)}>
          <h2 id="export-title">Export this model</h2>
          <dl>
            {commands.map(([what, command]) => (
              <div key={what}>
                <dt>{what}</dt>
                <dd>
                  <Command>{command}</Command>
                </dd>
              </div>
            ))}
          </dl>
          <form method="dialog">
            <button type="submit">Close</button>
          </form>
        </dialog>
      )}
    </>
  );
}

/** Links to what else shows a model: a run, or one of its checkpoints. */
export const lookWith = (path: string): string => `${href('look')}?${new URLSearchParams({ weights: path })}`;
export const searchWith = (path: string): string =>
  `${href('find')}?${new URLSearchParams({ new: '1', weights: path })}`;

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
  // a studio that is gone can't stop anything, and what it showed last may have ended since
  const isHeard = !['lost', 'ended'].includes(connection.value);
  return (
    <section class="card run-head">
      <p class="note back">
        <a href={href('runs')}>All runs</a>
      </p>
      <div class="row">
        <h1>{run.name}</h1>
        <StateMark state={run.state} />
        {!isHeard && isActive && <span class="note">when last seen</span>}
        <span class="actions row">
          {isHeard && <Actions run={run} />}
          {hasWeights && (
            <>
              <a class="button" href={lookWith(run.path)}>
                Look
              </a>
              <a class="button" href={searchWith(run.path)}>
                Index
              </a>
              <Export path={run.path} />
            </>
          )}
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
