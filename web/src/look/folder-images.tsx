/** Picks an image out of the studio's folders. */
import { useState } from 'preact/hooks';
import { pictureOf } from '../api.ts';
import { count } from '../ui/format.ts';
import { Icon } from '../ui/icon.tsx';
import { Failure, Loading } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';

/** As many as the server lists at once. */
const PAGE = 1000;

export function FolderImages({ onChoose }: { onChoose: (path: string) => void }) {
  const [{ path, from }, setPlace] = useState<{ path: string | undefined; from: number }>({
    path: undefined,
    from: 0,
  });
  const setPath = (next: string | undefined): void => setPlace({ path: next, from: 0 });
  const { answer: listing, error } = useRequest(
    'GET /api/folders',
    { query: { path, from: from === 0 ? undefined : from } },
    { keep: true },
  );
  if (listing === null) return error === null ? <Loading what="folders" /> : <Failure error={error} />;
  return (
    <div class="folder-images">
      {error !== null && <Failure error={error} />}
      <p class="row">
        {listing.path !== '' && (
          <button type="button" onClick={() => setPath(listing.parent ?? undefined)}>
            Up
          </button>
        )}
        <span class="note">{listing.path === '' ? 'The studio’s folders' : listing.path}</span>
      </p>
      {listing.folders.length > 0 && (
        <ul class="row" aria-label="Folders">
          {listing.folders.map((folder) => (
            <li key={folder.path}>
              <button type="button" onClick={() => setPath(folder.path)}>
                <Icon name="folder" /> {folder.name}
                {folder.below.images > 0 && ` (${count(folder.below.images)})`}
              </button>
            </li>
          ))}
        </ul>
      )}
      <ul class="heads" aria-label="Images">
        {listing.images.map((image) => (
          <li key={image.path}>
            <button type="button" onClick={() => onChoose(image.path)}>
              <img src={pictureOf(image.path, 128)} alt="" width="84" height="84" loading="lazy" />
              {image.name}
            </button>
          </li>
        ))}
      </ul>
      {listing.imageCount > listing.images.length && (
        <p class="row">
          <span class="note">
            Images {count(from + 1)} to {count(from + listing.images.length)} of {count(listing.imageCount)}
          </span>
          {from > 0 && (
            <button type="button" onClick={() => setPlace({ path, from: Math.max(0, from - PAGE) })}>
              Previous
            </button>
          )}
          {from + listing.images.length < listing.imageCount && (
            <button type="button" onClick={() => setPlace({ path, from: from + PAGE })}>
              Next
            </button>
          )}
        </p>
      )}
    </div>
  );
}
