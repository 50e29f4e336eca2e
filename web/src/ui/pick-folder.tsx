/** Chooses a folder of images: the one way to do so, in every section. */
import { type FolderEntry, pictureOf } from '../api.ts';
import { useRequest } from '../use-request.ts';
import { counted } from './format.ts';
import { Icon } from './icon.tsx';
import { Failure, Loading } from './parts.tsx';
import './pick-folder.css';

/** Images of a folder that are shown before it is chosen. */
const SHOWN = 24;

/** What a folder holds, in words: the images below it count too. */
function contentsOf({ isRun, images, below }: FolderEntry): string {
  if (isRun) return 'a run';
  if (images === null) return 'can’t be read';
  if (below.images === 0) return below.isWhole ? 'no images' : 'folder';
  const least = below.isWhole ? '' : 'at least ';
  const spread = below.folders > 1 || images === 0 ? ` in ${counted(below.folders, 'folder')}` : '';
  return `${least}${counted(below.images, 'image')}${spread}`;
}

export interface PickFolderProps {
  /** The folder that is shown; '' for the list of the given ones. */
  path: string;
  /** Another folder is to be shown. */
  onOpen: (path: string) => void;
  onChoose: (path: string) => void;
}

/** Walks through the studio's folders and chooses one with images. */
export function PickFolder({ path, onOpen, onChoose }: PickFolderProps) {
  const { answer: found, error } = useRequest('GET /api/folders', { query: { path } }, { keep: true });
  if (found === null)
    return error === null ? (
      <Loading what="folders" />
    ) : (
      <Failure error={error}>
        <button type="button" onClick={() => onOpen('')}>
          The studio’s folders
        </button>
      </Failure>
    );
  return (
    <section class="card pick-folder" aria-label="Folder of images">
      {error !== null && <Failure error={error} />}
      <p class="row">
        {found.path !== '' && (
          <button type="button" onClick={() => onOpen(found.parent ?? '')}>
            <Icon name="up" /> Up
          </button>
        )}
        <code>{found.path === '' ? 'The studio’s folders' : found.path}</code>
        {found.path !== '' && (
          <button type="button" class="main" onClick={() => onChoose(found.path)}>
            Use this folder
          </button>
        )}
      </p>
      <ul class="folder-list">
        {found.folders.map((folder) => (
          <li key={folder.path}>
            <button type="button" onClick={() => onOpen(folder.path)}>
              <span>
                <Icon name="folder" />
                {folder.name}
              </span>
              <span class="note">{contentsOf(folder)}</span>
            </button>
          </li>
        ))}
      </ul>
      {found.imageCount > 0 && (
        <>
          <p class="note">
            {counted(found.imageCount, 'image')} here
            {found.imageCount > SHOWN && `, the first ${SHOWN} of them:`}
          </p>
          <div class="folder-images-strip">
            {found.images.slice(0, SHOWN).map((image) => (
              <img key={image.path} src={pictureOf(image.path, 160)} alt={image.name} loading="lazy" />
            ))}
          </div>
        </>
      )}
      {found.folders.length === 0 && found.imageCount === 0 && <p class="note">There are no images here.</p>}
    </section>
  );
}
