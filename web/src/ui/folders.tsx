/** Walks through the studio's folders: used wherever a folder or a file is chosen. */
import type { ComponentChildren } from 'preact';
import type { FolderEntry, FolderListing } from '../api.ts';
import { useRequest } from '../use-request.ts';
import { counted } from './format.ts';
import { Icon } from './icon.tsx';
import { Failure, Loading } from './parts.tsx';
import './folders.css';

/** What a folder holds, in words: the images below it count too. */
function contentsOf({ isRun, images, below }: FolderEntry): string {
  if (isRun) return 'a run';
  if (images === null) return 'can’t be read';
  if (below.images === 0) return below.isWhole ? 'no images' : 'folder';
  const least = below.isWhole ? '' : 'at least ';
  const spread = below.folders > 1 || images === 0 ? ` in ${counted(below.folders, 'folder')}` : '';
  return `${least}${counted(below.images, 'image')}${spread}`;
}

export interface FoldersProps {
  /** The folder that is shown; '' for the list of the given ones. */
  path: string;
  /** The first of its images that are listed; default 0. */
  from?: number;
  /** Another folder is to be shown. */
  onOpen: (path: string) => void;
  /** What can be done with the folder that is shown, beside its path. */
  actions?: (listing: FolderListing) => ComponentChildren;
  /** What is shown of its images. */
  children: (listing: FolderListing) => ComponentChildren;
}

export function Folders({ path, from = 0, onOpen, actions, children }: FoldersProps) {
  const { answer: listing, error } = useRequest(
    'GET /api/folders',
    { query: { path, from: from === 0 ? undefined : from } },
    { keep: true },
  );
  if (listing === null)
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
    <>
      {error !== null && <Failure error={error} />}
      <p class="row">
        {listing.path !== '' && (
          <button type="button" onClick={() => onOpen(listing.parent ?? '')}>
            <Icon name="up" /> Up
          </button>
        )}
        <code class="note">{listing.path === '' ? 'The studio’s folders' : listing.path}</code>
        {actions?.(listing)}
      </p>
      {listing.folders.length > 0 && (
        <ul class="folder-list" aria-label="Folders">
          {listing.folders.map((folder) => (
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
      )}
      {children(listing)}
    </>
  );
}
