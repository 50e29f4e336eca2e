import type { Task } from '../api.ts';
import { useRequest } from '../use-request.ts';
import { Failure } from './parts.tsx';

/** A task's title, its progress, a button that cancels it, and its error. */
export function TaskProgress({ task }: { task: Task }) {
  const cancel = useRequest('POST /api/tasks/:task/cancel');
  const { progress, state } = task;
  if (state === 'failed') return <Failure error={new Error(task.error ?? 'The task failed.')} />;
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
      <button type="button" onClick={() => void cancel.ask({ params: { task: task.id } })}>
        Cancel
      </button>
      {cancel.error !== null && <Failure error={cancel.error} />}
    </div>
  );
}
