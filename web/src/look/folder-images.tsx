/** Picks an image out of the studio's folders. */
import { useState } from 'preact/hooks';
import { pictureOf } from '../api.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';

export function FolderImages({ onChoose }: { onChoose: (path: string, name: string) => void }) {
  const [path, setPath] = useState<string | undefined>(undefined);
  const { answer: listing, error } = useRequest('GET /api/folders', { query: { path } }, { keep: true });
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
                {folder.name}
                {folder.images !== null && folder.images > 0 && ` (${folder.images})`}
              </button>
            </li>
          ))}
        </ul>
      )}
      <ul class="heads" aria-label="Images">
        {listing.images.map((image) => (
          <li key={image.path}>
            <button type="button" onClick={() => onChoose(image.path, image.name)}>
              <img src={pictureOf(image.path, 128)} alt="" width="84" height="84" loading="lazy" />
              {image.name}
            </button>
          </li>
        ))}
      </ul>
      {listing.imageCount > listing.images.length && (
        <p class="note">
          The first {listing.images.length} of {listing.imageCount} images.
        </p>
      )}
    </div>
  );
}
