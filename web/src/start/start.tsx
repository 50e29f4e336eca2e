/** Start: choose images, see what is in them and what training would see, try it, begin. */
import { href, navigate, route } from '../router.ts';
import { Failure } from '../ui/parts.tsx';
import { PickFolder } from '../ui/pick-folder.tsx';
import { useRequest } from '../use-request.ts';
import { Inspection } from './inspection.tsx';
import { Planning } from './planning.tsx';
import './start.css';

/** An address of this section. */
const place = (query: Readonly<Record<string, string>>): string => {
  const search = new URLSearchParams(query).toString();
  return href('start') + (search === '' ? '' : `?${search}`);
};

export function Start() {
  const { query } = route.value;
  const images = query.get('images');
  const { answer: studio, error } = useRequest('GET /api/studio', {});
  if (images === null)
    return (
      <>
        <section class="card">
          <h1>Start a training run</h1>
          <p>Choose the folder of images to learn from. No labels are needed.</p>
        </section>
        <PickFolder
          path={query.get('folder') ?? ''}
          onOpen={(path) => navigate(place(path === '' ? {} : { folder: path }))}
          onChoose={(path) => navigate(place({ images: path }))}
        />
      </>
    );
  return (
    <>
      <section class="card">
        <h1>Start a training run</h1>
        <p class="row">
          <code class="where">{images}</code>
          <a class="button" href={place({ folder: images })}>
            Choose another folder
          </a>
        </p>
      </section>
      <Inspection images={images} />
      {error !== null && <Failure error={error} />}
      {studio !== null && <Planning key={images} images={images} folders={studio.folders} />}
    </>
  );
}
