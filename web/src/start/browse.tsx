import { useSignal } from '@preact/signals';
import { type FolderEntry, pictureOf } from '../api.ts';
import { counted } from '../ui/format.ts';
import { FolderIcon } from '../ui/folder-icon.tsx';
import { Failure, Loading } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';

/** What a folder holds, in words. */
function inFolder({ isRun, images, below }: FolderEntry): string {
  if (isRun) return 'a run';
  if (images === null) return 'can’t be read';
  const all = below.images;
  if (all === 0) return below.isWhole ? 'no images' : '';
  const least = below.isWhole ? '' : 'at least ';
  const spread = below.folders > 1 || images === 0 ? ` in ${counted(below.folders, 'folder')}` : '';
  return `${least}${counted(all, 'image')}${spread}`;
}

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
                  <FolderIcon /> {folder.name}
                </button>{' '}
                <span class="note">{inFolder(folder)}</span>
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
