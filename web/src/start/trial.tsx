/** Time and memory of a training, measured by its first steps. */
import type { StartRequest, TrialResult } from '../api.ts';
import { useTask } from '../live.ts';
import { count, duration } from '../ui/format.ts';
import { Failure } from '../ui/parts.tsx';
import { TaskProgress } from '../ui/task-progress.tsx';
import { useRequest } from '../use-request.ts';

export function Trial({ body }: { body: StartRequest }) {
  const { answer: started, error, isBusy, ask } = useRequest('POST /api/start/trial');
  const task = useTask(started);
  const result = task?.state === 'done' ? (task.result as TrialResult) : null;
  return (
    <section class="card" aria-labelledby="trial">
      <h2 id="trial">Time and memory</h2>
      <p class="row">
        <button
          type="button"
          disabled={isBusy || task?.state === 'running'}
          onClick={() => void ask({ body })}
        >
          Measure with a few trial steps
        </button>
        <span class="note">The real training’s first steps, in a folder that is deleted afterwards.</span>
      </p>
      {error !== null && <Failure error={error} />}
      {task !== null && <TaskProgress task={task} />}
      {result !== null && (
        <dl class="trial">
          <dt>The whole training</dt>
          <dd>
            about {duration(result.totalSeconds)} for {count(result.totalSteps)} steps, not counting
            checkpoints and evaluations
          </dd>
          <dt>Speed</dt>
          <dd>
            {result.imagesPerSecond.toFixed(1)} images a second, {duration(result.secondsPerStep)} a step
            (median of {result.steps}); waiting for data {result.dataWaitPercent.toFixed(0)} %
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
      )}
    </section>
  );
}
