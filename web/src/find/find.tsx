/** Find and map: an index of images, searched, sorted and labelled. */
import { route } from '../router.ts';
import { Choose } from './choose.tsx';
import { Explore } from './explore.tsx';
import './find.css';

export function Find() {
  const index = route.value.query.get('index');
  return (
    <div class="find">
      <h1>Find and map</h1>
      {index === null ? <Choose /> : <Explore key={index} index={index} />}
    </div>
  );
}
