/** Runs: what is being trained, and what was. */
import { href } from '../router.ts';
import { runs } from '../live.ts';
import { Loading, StateMark } from '../ui/parts.tsx';

export default function Runs() {
  const list = runs.value;
  if (list === null) return <Loading what="runs" />;
  if (list.length === 0) {
    return (
      <section class="card">
        <h1>Runs</h1>
        <p>
          There is no run under the folders of this studio yet. It appears here as soon as its folder does.
        </p>
        <pre>
          <code>dino train photos --output runs/first</code>
        </pre>
      </section>
    );
  }
  return (
    <section class="card">
      <h1>Runs</h1>
      <ul class="runs">
        {list.map((run) => (
          <li key={run.id}>
            <StateMark state={run.state} /> <a href={href('runs', run.id)}>{run.name}</a>{' '}
            <span class="note">{run.sentence}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}
