/** Find, before an index is chosen: opens one, makes one, or brings one up to date. */
import { useEffect, useState } from 'preact/hooks';
import { request } from '../api.ts';
import { keepTask, runs, tasks } from '../live.ts';
import { setQuery } from '../router.ts';
import { Failure, TaskProgressBar } from '../ui/parts.tsx';
import { offerAnother, textOf } from './ask.ts';

export function Choose() {
  const [task, setTask] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);
  const running = task === null ? undefined : tasks.value.get(task);
  const made = running?.state === 'done' ? (running.result as { index: string }).index : null;
  useEffect(() => {
    if (made !== null) setQuery('index', made);
  }, [made]);
  return (
    <>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setQuery('index', textOf(event.currentTarget, 'index'));
        }}
      >
        <h2>Open an index</h2>
        <label>
          Folder of the index
          <input name="index" required />
        </label>
        <button type="submit">Open</button>
      </form>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const form = event.currentTarget;
          const [weights, images, output, heads] = ['weights', 'images', 'output', 'heads'].map((name) =>
            textOf(form, name),
          );
          setError(null);
          request('POST /api/find/index', {
            body: {
              ...{ weights: weights!, images: images!, output: output! },
              ...(heads === '' ? {} : { numHeads: Number(heads) }),
            },
          }).then(
            (started) => {
              keepTask(started);
              setTask(started.id);
            },
            offerAnother(form, 'output', setError),
          );
        }}
      >
        <h2>Make an index, or bring one up to date</h2>
        <label>
          Model: a run, a checkpoint or a file of weights
          <input name="weights" required list="find-runs" />
        </label>
        <datalist id="find-runs">
          {(runs.value ?? []).map((run) => (
            <option key={run.id} value={run.path} />
          ))}
        </datalist>
        <label>
          Attention heads, of a file of weights that doesn’t say them
          <input name="heads" type="number" min="1" step="1" />
        </label>
        <label>
          Folder of images
          <input name="images" required />
        </label>
        <label>
          Folder for the index
          <input name="output" required />
        </label>
        <button type="submit">Make it</button>
        {running !== undefined && <TaskProgressBar task={running} />}
        {error !== null && <Failure error={error} />}
      </form>
    </>
  );
}
