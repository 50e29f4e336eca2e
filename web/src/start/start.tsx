/** Start: choose images, see what is in them and what training would see, try it, begin. */
import { route, setQuery } from '../router.ts';
import { Failure } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';
import { Browse } from './browse.tsx';
import { Inspection } from './inspection.tsx';
import { Planning } from './planning.tsx';
import './start.css';

export function Start() {
  const images = route.value.query.get('images');
  const { answer: studio, error } = useRequest('GET /api/studio', {});
  return (
    <>
      <section class="card">
        <h1>Start a training run</h1>
        {images === null ? (
          <p>Choose the folder of images to learn from. No labels are needed.</p>
        ) : (
          <p class="row">
            <code class="where">{images}</code>
            <button type="button" onClick={() => setQuery('images', null)}>
              Choose another folder
            </button>
          </p>
        )}
      </section>
      {images === null ? (
        <Browse choose={(path) => setQuery('images', path)} />
      ) : (
        <>
          <Inspection images={images} />
          {error !== null && <Failure error={error} />}
          {studio !== null && <Planning key={images} images={images} folders={studio.folders} />}
        </>
      )}
    </>
  );
}
