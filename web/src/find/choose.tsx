/** Find, before an index is chosen: opens one, makes one, or brings one up to date. */
import { useEffect } from 'preact/hooks';
import { request } from '../api.ts';
import { runs, useTask } from '../live.ts';
import { setQuery } from '../router.ts';
import { Form } from '../ui/form.tsx';
import { Failure } from '../ui/parts.tsx';
import { TaskProgress } from '../ui/task-progress.tsx';
import { useAnswer } from '../use-answer.ts';
import { offeringAnother, textOf } from './fields.ts';

export function Choose() {
  const making = useAnswer(async (form: HTMLFormElement) => {
    const heads = textOf(form, 'heads');
    const body = {
      weights: textOf(form, 'weights'),
      images: textOf(form, 'images'),
      output: textOf(form, 'output'),
      ...(heads === '' ? {} : { numHeads: Number(heads) }),
    };
    return offeringAnother(form, 'output', request('POST /api/find/index', { body }));
  });
  const task = useTask(making.answer);
  const made = task?.state === 'done' ? (task.result as { index: string }).index : null;
  useEffect(() => {
    if (made !== null) setQuery('index', made);
  }, [made]);
  return (
    <>
      <Form onSubmit={(form) => setQuery('index', textOf(form, 'index'))}>
        <h2>Open an index</h2>
        <label>
          Folder of the index
          <input name="index" required />
        </label>
        <button type="submit">Open</button>
      </Form>
      <Form onSubmit={(form) => void making.ask(form)}>
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
          Attention heads, if the file of weights doesn’t say
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
        {task !== null && <TaskProgress task={task} />}
        {making.error !== null && <Failure error={making.error} />}
      </Form>
    </>
  );
}
