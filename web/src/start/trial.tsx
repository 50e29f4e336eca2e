/** Time and memory of a training, measured by its first steps. */
import { useRef } from 'preact/hooks';
import type { StartRequest, Task, TrialResult } from '../api.ts';
import { useTask } from '../live.ts';
import { count, duration } from '../ui/format.ts';
import { Failure } from '../ui/parts.tsx';
import { TaskProgress } from '../ui/task-progress.tsx';
import { useRequest } from '../use-request.ts';

export interface Trial {
  measure: () => void;
  isBusy: boolean;
  task: Task | null;
  result: TrialResult | null;
  /** The result is that of the settings as they are now. */
  isCurrent: boolean;
  error: unknown;
}

/** Trial steps of a training with these settings, once they are asked for. */
export function useTrial(body: StartRequest): Trial {
  const { answer: started, error, isBusy, ask } = useRequest('POST /api/start/trial');
  const task = useTask(started);
  const measured = useRef('');
  const question = JSON.stringify(body);
  return {
    measure: () => {
      measured.current = question;
      void ask({ body });
    },
    isBusy: isBusy || task?.state === 'running',
    result: task?.state === 'done' ? (task.result as TrialResult) : null,
    isCurrent: measured.current === question,
    ...{ task, error },
  };
}

export function TrialCard({ trial }: { trial: Trial }) {
  const { task, result, isCurrent, error } = trial;
  if (task === null && error === null) return null;
  return (
    <section class="card" aria-labelledby="trial">
      <h2 id="trial">Time and memory</h2>
      {error !== null && <Failure error={error} />}
      {task !== null && <TaskProgress task={task} />}
      {result !== null && (
        <>
          {!isCurrent && <p class="note">Measured before the settings were changed.</p>}
          <dl class="trial">
            <dt>The whole training</dt>
            <dd>
              about {duration(result.totalSeconds)} for {count(result.totalSteps)} steps, not counting
              checkpoints and evaluations
            </dd>
            <dt>Speed</dt>
            <dd>
              {result.imagesPerSecond.toFixed(1)} images per second, {duration(result.secondsPerStep)} per
              step (median of {result.steps}); waiting for data {result.dataWaitPercent.toFixed(0)} %
            </dd>
            <dt>Memory</dt>
            <dd>
              {count(result.memoryMiB)} MiB at most, on {result.device} in {result.precision}
            </dd>
            <dt>A checkpoint</dt>
            <dd>
              {result.checkpointMiB.toFixed(1)} MiB, {count(result.parameters)} trained parameters
            </dd>
          </dl>
        </>
      )}
    </section>
  );
}
