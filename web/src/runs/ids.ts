/** Runs in an address, by their ids; and the address of the list. */
import { addressWith, href, route } from '../router.ts';
import { keep, kept } from '../session.ts';

/** The ids that the query has under a name. */
export const idsOf = (name: string): string[] =>
  (route.value.query.get(name) ?? '').split(',').filter((one) => one !== '');

/** How they are written; null for none. */
export const listed = (ids: readonly string[]): string | null => (ids.length === 0 ? null : ids.join(','));

const LIST = 'dino-studio-run-list';

/** Remembers how the list is sorted, searched and ticked: links to it lead back to that. */
export const keepList = (): void => keep(LIST, addressWith({}));

export const listAddress = (): string => {
  const address = kept(LIST) ?? '';
  return address.startsWith(`${href('runs')}?`) ? address : href('runs');
};
