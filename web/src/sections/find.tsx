/** Find and map: an index of images, searched, sorted and labelled. */
import '../find/find.css';
import { Choose } from '../find/choose.tsx';
import { Explore } from '../find/explore.tsx';
import { route } from '../router.ts';

export default function Find() {
  const index = route.value.query.get('index');
  return (
    <div class="find">
      <h1>Find and map</h1>
      {index === null ? <Choose /> : <Explore key={index} index={index} />}
    </div>
  );
}
