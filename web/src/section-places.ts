/** The last address of each section, kept for the tab's session: the menu leads back to what was seen there. */
import { effect } from '@preact/signals';
import { addressWith, href, route } from './router.ts';
import { keep, kept } from './session.ts';

const keyOf = (section: string): string => `dino-studio-section ${section}`;

effect(() => {
  const [section] = route.value.parts;
  if (section !== undefined) keep(keyOf(section), addressWith({}));
});

/** Where a section was left; its beginning if it hasn't been opened yet. */
export function lastPlace(section: string): string {
  const address = kept(keyOf(section)) ?? '';
  const beginning = href(section);
  // what another program of the same origin has kept is not followed
  return [beginning, `${beginning}/`, `${beginning}?`].some((start) => address.startsWith(start))
    ? address
    : beginning;
}
