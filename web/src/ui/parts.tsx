/** Small parts that several sections use. */
import type { ComponentChildren } from 'preact';
import { RequestError, type RunState, type Task, wordsOf, request } from '../api.ts';

export function Loading({ what }: { what: string }) {
  return (
    <p class="loading" role="status">
      Loading {what}…
    </p>
  );
}

/** A failure, where it happened; everything else goes on. */
export function Failure({ error, children }: { error: unknown; children?: ComponentChildren }) {
  const problems = error instanceof RequestError ? error.problems : [];
  return (
    <div class="failure" role="alert">
      {problems.length > 1 ? (
        <ul>
          {problems.map((problem) => (
            <li key={problem}>{problem}</li>
          ))}
        </ul>
      ) : (
        <p>{wordsOf(error)}</p>
      )}
      {children}
    </div>
  );
}

const STATES: Readonly<Record<RunState, string>> = {
  preparing: 'preparing',
  running: 'running',
  waiting: 'waiting',
  finished: 'finished',
  stopped: 'stopped',
  crashed: 'crashed',
  damaged: 'damaged',
};

/** A run's state: a coloured dot, and always its word. */
export function StateMark({ state }: { state: RunState }) {
  return <span class={`state ${state}`}>{STATES[state]}</span>;
}

/** A task's title, how far it is, a button that cancels it, and what went wrong. */
export function TaskProgressBar({ task }: { task: Task }) {
  const { progress, state } = task;
  if (state === 'failed') return <Failure error={new Error(task.error ?? 'it failed')} />;
  if (state === 'cancelled') return <p class="note">{task.title}: cancelled.</p>;
  if (state === 'done') return null;
  const total = progress?.total ?? null;
  return (
    <div class="task">
      <label>
        {task.title}
        {/* without a value the bar says that it is at work, not how far */}
        <progress {...(total === null ? {} : { value: progress?.done ?? 0, max: total })} />
      </label>
      <span class="note">
        {progress?.message ?? (total === null ? '' : `${progress?.done ?? 0} of ${total}`)}
      </span>
      <button
        type="button"
        onClick={() =>
          void request('POST /api/tasks/:task/cancel', { params: { task: task.id } }).catch(() => undefined)
        }
      >
        Cancel
      </button>
    </div>
  );
}
