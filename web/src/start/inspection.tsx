/** What a folder of images holds. */
import type { ImagesReport } from '../api.ts';
import { useTask } from '../live.ts';
import { bytes, count } from '../ui/format.ts';
import { Failure } from '../ui/parts.tsx';
import { TaskProgress } from '../ui/task-progress.tsx';
import { useRequest } from '../use-request.ts';

function Report({ report }: { report: ImagesReport }) {
  const { width, height, classes, broken, formats } = report;
  const sample = report.checked < report.count ? ` (${count(report.checked)} of them checked)` : '';
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
          median {width.median} × {height.median}; {width.least} to {width.greatest} wide, {height.least} to{' '}
          {height.greatest} high
        </dd>
        <dt>On disk</dt>
        <dd>
          {bytes(report.bytes)},{' '}
          {Object.entries(formats)
            .map(([name, n]) => `${count(n)} ${name}`)
            .join(', ')}
        </dd>
        <dt>Classes</dt>
        <dd>{classes === null ? 'none (training needs none)' : count(classes.length)}</dd>
        <dt>Broken</dt>
        <dd>{count(broken.count)}</dd>
      </dl>
      {report.outside > 0 && (
        <p class="failure">
          Images left out because they are links to outside the studio’s folders: {count(report.outside)}.
          Start the studio with their folder as well.
        </p>
      )}
      {report.remarks.map((remark) => (
        <p key={remark} class="failure">
          {remark}
        </p>
      ))}
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
      {report.unreadableFolders.length > 0 && (
        <details>
          <summary>Folders and shards that can’t be read</summary>
          <ul>
            {report.unreadableFolders.map((one) => (
              <li key={one.path + one.reason}>
                <code>{one.path}</code>: {one.reason}
              </li>
            ))}
          </ul>
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
  const { answer: started, error } = useRequest('POST /api/start/inspect', { body: { images } });
  const task = useTask(started);
  return (
    <section class="card" aria-labelledby="inspection">
      <h2 id="inspection">What is in the folder</h2>
      {error !== null && <Failure error={error} />}
      {task !== null && <TaskProgress task={task} />}
      {task?.state === 'done' && <Report report={task.result as ImagesReport} />}
    </section>
  );
}
