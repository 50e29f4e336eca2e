/** Find and map: the indexes of the given folders; one of them opened; or a new one. */
import { useRef } from 'preact/hooks';
import { tasksOf } from '../live.ts';
import { route } from '../router.ts';
import { Explore } from './explore.tsx';
import { Home } from './home.tsx';
import { NewIndex } from './new-index.tsx';
import { placeOf } from './place.ts';
import './find.css';

/** How many tasks have changed indexes while this page was open: what they changed is read again. */
function useChanges(): number {
  const running = useRef(new Set<string>());
  const changes = useRef(0);
  for (const { id, state } of tasksOf('index-images')) {
    if (state === 'running') running.current.add(id);
    else if (running.current.delete(id)) changes.current++;
  }
  return changes.current;
}

export function Find() {
  const { query } = route.value;
  const index = query.get('index');
  const changes = useChanges();
  return (
    <div class="find">
      {index !== null ? (
        <Explore key={`${changes} ${index}`} index={index} place={placeOf(query)} />
      ) : query.has('new') ? (
        <NewIndex images={query.get('images')} folder={query.get('folder') ?? ''} />
      ) : (
        <Home key={changes} />
      )}
    </div>
  );
}
