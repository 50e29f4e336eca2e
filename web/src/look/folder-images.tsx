/** Picks an image out of the studio's folders. */
import { type FolderListing, pictureOf } from '../api.ts';
import { Folders } from '../ui/folders.tsx';
import { count } from '../ui/format.ts';

/** As many as the server lists at once. */
const PAGE = 1000;

/** A folder, and which of its images are listed. */
export interface FolderPlace {
  /** '' for the list of the given folders. */
  path: string;
  from: number;
}

interface FolderImagesProps {
  place: FolderPlace;
  onMove: (place: FolderPlace) => void;
  onChoose: (path: string) => void;
}

export function FolderImages({ place, onMove, onChoose }: FolderImagesProps) {
  return (
    <div class="folder-images">
      <Folders path={place.path} from={place.from} onOpen={(path) => onMove({ path, from: 0 })}>
        {(listing) => (
          <>
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
            <Pages listing={listing} from={place.from} onPage={(from) => onMove({ ...place, from })} />
          </>
        )}
      </Folders>
    </div>
  );
}

interface PagesProps {
  listing: FolderListing;
  from: number;
  onPage: (from: number) => void;
}

function Pages({ listing: { images, imageCount }, from, onPage }: PagesProps) {
  if (imageCount <= images.length) return null;
  const next = from + images.length;
  return (
    <p class="row">
      <span class="note">
        Images {count(from + 1)} to {count(next)} of {count(imageCount)}
      </span>
      {from > 0 && (
        <button type="button" onClick={() => onPage(Math.max(0, from - PAGE))}>
          Previous
        </button>
      )}
      {next < imageCount && (
        <button type="button" onClick={() => onPage(from + PAGE)}>
          Next
        </button>
      )}
    </p>
  );
}
