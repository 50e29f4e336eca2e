/** What a folder of images holds. */
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { type ImagesReport, request } from '../api.ts';
import { keepTask, useTask } from '../live.ts';
import { bytes, count } from '../runs/format.ts';
import { Failure, TaskProgressBar } from '../ui/parts.tsx';

function Report({ report }: { report: ImagesReport }) {
  const { width, height, classes, broken, formats } = report;
  const sample = report.checked < report.count ? ` (${count(report.checked)} of them looked at)` : '';
  return (
    <div class="report">
      <dl>
        <dt>Images</dt>
        <dd>
          {count(report.count)}
          {sample}
        </dd>
        <dt>Size</dt>
        <dd>
          {width.median} × {height.median} in the middle; {width.least} to {width.greatest} wide,{' '}
          {height.least} to {height.greatest} high
        </dd>
        <dt>On disk</dt>
        <dd>
          {bytes(report.bytes)},{' '}
          {Object.entries(formats)
            .map(([name, n]) => `${count(n)} ${name}`)
            .join(', ')}
        </dd>
        <dt>Classes</dt>
        <dd>{classes === null ? 'none: training needs none' : count(classes.length)}</dd>
        <dt>Broken</dt>
        <dd>{count(broken.count)}</dd>
      </dl>
      {report.outside > 0 && (
        <p class="failure">
          {count(report.outside)} images are links that lead outside the folders of this studio, and are not
          read. Start the studio with their folder too.
        </p>
      )}
      {classes !== null && (
        <details>
          <summary>Images by class</summary>
          <table>
            <tbody>
              {classes.map((one) => (
                <tr key={one.name}>
                  <th scope="row">{one.name}</th>
                  <td>{count(one.count)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </details>
      )}
      {broken.count > 0 && (
        <details>
          <summary>Files that can’t be read</summary>
          <ul>
            {broken.first.map((one) => (
              <li key={one.path}>
                <code>{one.path}</code>: {one.reason}
              </li>
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}

export function Inspection({ images }: { images: string }) {
  const id = useSignal<string | null>(null);
  const failure = useSignal<unknown>(null);
  useEffect(() => {
    id.value = null;
    failure.value = null;
    request('POST /api/start/inspect', { body: { images } }).then(
      (task) => {
        keepTask(task);
        id.value = task.id;
      },
      (error: unknown) => (failure.value = error),
    );
  }, [images]);
  const task = useTask(id.value);
  return (
    <section class="card" aria-labelledby="inspection">
      <h2 id="inspection">What is in it</h2>
      {failure.value !== null && <Failure error={failure.value} />}
      {task !== undefined && <TaskProgressBar task={task} />}
      {task?.state === 'done' && <Report report={task.result as ImagesReport} />}
    </section>
  );
}
