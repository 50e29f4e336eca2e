/** Runs in an address, by their ids; and the address of the list. */
import { keepPlace, lastPlace } from '../last-place.ts';
import { href, route } from '../router.ts';

/** The ids that the query has under a name. */
export const idsOf = (name: string): string[] =>
  (route.value.query.get(name) ?? '').split(',').filter((one) => one !== '');

/** How they are written; null for none. */
export const listed = (ids: readonly string[]): string | null => (ids.length === 0 ? null : ids.join(','));

const LIST = 'list of runs';

/** Remembers how the list is sorted, searched and ticked: links to it lead back to that. */
export const keepList = (): void => keepPlace(LIST);

export const listAddress = (): string => lastPlace(LIST, href('runs'));
