import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { type FolderListing, pictureOf, request } from '../api.ts';
import { count } from '../runs/format.ts';
import { Failure, Loading } from '../ui/parts.tsx';

/** Walks through the given folders. */
export function Browse({ choose }: { choose: (path: string) => void }) {
  const path = useSignal('');
  const listing = useSignal<FolderListing | null>(null);
  const failure = useSignal<unknown>(null);
  useEffect(() => {
    const controller = new AbortController();
    request('GET /api/folders', { query: { path: path.value }, signal: controller.signal }).then(
      (found) => {
        listing.value = found;
        failure.value = null;
      },
      (error: unknown) => {
        if (!controller.signal.aborted) failure.value = error;
      },
    );
    return () => controller.abort();
  }, [path.value]);
  const found = listing.value;
  return (
    <section class="card" aria-labelledby="browse">
      <h2 id="browse">Images</h2>
      {failure.value !== null && <Failure error={failure.value} />}
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
            <code class="where">{found.path === '' ? 'The folders of this studio' : found.path}</code>
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
                      : `${count(folder.images)} images`}
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
            <p class="note">Nothing in it to train on.</p>
          )}
        </>
      )}
    </section>
  );
}
