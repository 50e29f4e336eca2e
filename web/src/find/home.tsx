/** The indexes of the given folders as cards, those that are being made, and the way to a new one. */
import { useEffect } from 'preact/hooks';
import type { IndexCard } from '../api.ts';
import { tasksOf } from '../live.ts';
import { navigate } from '../router.ts';
import { counted, lastPart, when } from '../ui/format.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { TaskProgress } from '../ui/task-progress.tsx';
import { Thumb } from '../ui/thumb.tsx';
import { useRequest } from '../use-request.ts';
import { started } from './new-index.tsx';
import { freshPlace } from './place.ts';

/** Tasks that were running while this page was open: why one has ended is shown only then. */
const seen = new Set<string>();

export function Home() {
  const { answer, error } = useRequest('GET /api/find/indexes', {});
  const cards = answer?.indexes ?? null;
  const tasks = tasksOf('index-images').filter(({ id, state }) => {
    if (state === 'running') seen.add(id);
    return state !== 'done' && seen.has(id);
  });
  // an index that was begun here is opened when it is there
  const own = tasksOf('index-images').find(({ id, state }) => id === started.value && state === 'done');
  useEffect(() => {
    if (own === undefined) return;
    started.value = null;
    navigate(freshPlace({ index: (own.result as { index: string }).index }));
  }, [own?.id]);
  const fresh = freshPlace({ new: '1' });
  return (
    <>
      <header class="row">
        <h1>Find and map</h1>
        {cards !== null && cards.length > 0 && (
          <a class="button main push" href={fresh}>
            New index
          </a>
        )}
      </header>
      {error !== null && <Failure error={error} />}
      {tasks.map((task) => (
        <section key={task.id} class="card" aria-label={task.title}>
          <TaskProgress task={task} />
        </section>
      ))}
      {cards === null && error === null && <Loading what="indexes" />}
      {answer?.isWhole === false && (
        <p class="note">
          There are more folders than are looked through here, so that indexes may be missing. Start the
          studio on a folder nearer to them.
        </p>
      )}
      {cards?.length === 0 && (
        <section class="card welcome">
          <h2>Explore a folder of images</h2>
          <p>
            A model looks at every image in a folder once. Then you can search the folder by example, see it
            as a map, and find groups, duplicates and outliers.
          </p>
          <a class="button main" href={fresh}>
            Choose a folder of images
          </a>
        </section>
      )}
      {cards !== null && cards.length > 0 && (
        <ul class="index-cards" aria-label="Indexes">
          {cards.map((card) => (
            <li key={card.folder}>
              <Card card={card} />
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function Card({ card }: { card: IndexCard }) {
  const { folder, name, problem, pictures } = card;
  if (problem !== null)
    return (
      <section class="card" aria-label={name}>
        <h2>{name}</h2>
        <Failure error={new Error(problem)} />
      </section>
    );
  return (
    <a class="card index-card" href={freshPlace({ index: folder })}>
      <span class="card-pictures" aria-hidden="true">
        {pictures.map((path) => (
          <Thumb key={path} path={path} side={130} alt="" />
        ))}
      </span>
      <strong>{name}</strong>
      <span>{counted(card.images, 'image')}</span>
      <span class="note">
        {lastPart(card.source)}, by {lastPart(card.weights)} · {when(card.written)}
      </span>
    </a>
  );
}
