import { useSignal } from '@preact/signals';
import { pictureOf } from '../api.ts';
import { counted } from '../ui/format.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';

/** Walks through the given folders. */
export function Browse({ choose }: { choose: (path: string) => void }) {
  const path = useSignal('');
  const { answer: found, error } = useRequest(
    'GET /api/folders',
    { query: { path: path.value } },
    { keep: true },
  );
  return (
    <section class="card" aria-labelledby="browse">
      <h2 id="browse">Images</h2>
      {error !== null && <Failure error={error} />}
      {found === null ? (
        <Loading what="folders" />
      ) : (
        <>
          <p class="row">
            {found.path !== '' && (
              <button type="button" onClick={() => (path.value = found.parent ?? '')}>
                ↑ Up
              </button>
            )}
            <code class="where">{found.path === '' ? 'The studio’s folders' : found.path}</code>
            {found.path !== '' && (
              <button type="button" class="main" onClick={() => choose(found.path)}>
                Use this folder
              </button>
            )}
          </p>
          <ul class="folders">
            {found.folders.map((folder) => (
              <li key={folder.path}>
                <button type="button" onClick={() => (path.value = folder.path)}>
                  📁 {folder.name}
                </button>{' '}
                <span class="note">
                  {folder.isRun
                    ? 'a run'
                    : folder.images === null
                      ? 'can’t be read'
                      : counted(folder.images, 'image')}
                </span>
              </li>
            ))}
          </ul>
          {found.imageCount > 0 && (
            <div class="strip">
              {found.images.slice(0, 12).map((image) => (
                <img key={image.path} src={pictureOf(image.path, 128)} alt={image.name} loading="lazy" />
              ))}
            </div>
          )}
          {found.folders.length === 0 && found.imageCount === 0 && (
            <p class="note">There is nothing here to train on.</p>
          )}
        </>
      )}
    </section>
  );
}
