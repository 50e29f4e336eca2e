/** Chooses a folder of images. */
import { pictureOf } from '../api.ts';
import { Folders } from './folders.tsx';
import { counted } from './format.ts';

/** Images of a folder that are shown before it is chosen. */
const SHOWN = 24;

export interface PickFolderProps {
  /** The folder that is shown; '' for the list of the given ones. */
  path: string;
  /** Another folder is to be shown. */
  onOpen: (path: string) => void;
  onChoose: (path: string) => void;
}

export function PickFolder({ path, onOpen, onChoose }: PickFolderProps) {
  return (
    <section class="card pick-folder" aria-label="Folder of images">
      <Folders
        path={path}
        onOpen={onOpen}
        actions={(listing) =>
          listing.path !== '' && (
            <button type="button" class="main" onClick={() => onChoose(listing.path)}>
              Use this folder
            </button>
          )
        }
      >
        {({ folders, images, imageCount }) => (
          <>
            {imageCount > 0 && (
              <>
                <p class="note">
                  {counted(imageCount, 'image')} here
                  {imageCount > SHOWN && `, the first ${SHOWN} of them:`}
                </p>
                <div class="folder-images-strip">
                  {images.slice(0, SHOWN).map((image) => (
                    <img key={image.path} src={pictureOf(image.path, 160)} alt={image.name} loading="lazy" />
                  ))}
                </div>
              </>
            )}
            {folders.length === 0 && imageCount === 0 && <p class="note">There are no images here.</p>}
          </>
        )}
      </Folders>
    </section>
  );
}
