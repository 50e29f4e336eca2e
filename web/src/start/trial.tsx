/** Time and memory of a training, measured by its first steps. */
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { request, type StartRequest, type TrialResult } from '../api.ts';
import { timeLabel } from '../charts/plot.ts';
import { keepTask, useTask } from '../live.ts';
import { count } from '../runs/format.ts';
import { Failure, TaskProgressBar } from '../ui/parts.tsx';

export function Trial({ body }: { body: StartRequest }) {
  const id = useSignal<string | null>(null);
  const failure = useSignal<unknown>(null);
  useEffect(() => {
    id.value = null;
  }, [body]);
  const task = useTask(id.value);
  const result = task?.state === 'done' ? (task.result as TrialResult) : null;
  const measure = async (): Promise<void> => {
    failure.value = null;
    try {
      const started = await request('POST /api/start/trial', { body });
      keepTask(started);
      id.value = started.id;
    } catch (error) {
      failure.value = error;
    }
  };
  return (
    <section class="card" aria-labelledby="trial">
      <h2 id="trial">Time and memory</h2>
      <p class="row">
        <button type="button" disabled={task?.state === 'running'} onClick={() => void measure()}>
          Measure with a few trial steps
        </button>
        <span class="note">The real training’s first steps in a folder that is thrown away.</span>
      </p>
      {failure.value !== null && <Failure error={failure.value} />}
      {task !== undefined && <TaskProgressBar task={task} />}
      {result !== null && (
        <dl class="trial">
          <dt>The whole training</dt>
          <dd>
            about {timeLabel(result.totalSeconds)} for {count(result.totalSteps)} steps, without checkpoints
            and evaluations
          </dd>
          <dt>Speed</dt>
          <dd>
            {result.imagesPerSecond.toFixed(1)} images a second, {timeLabel(result.secondsPerStep)} a step
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
