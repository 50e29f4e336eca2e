/** Addresses that links lead back to as they were left, kept for the tab's session: of a section, of the list of runs. */
import { effect } from '@preact/signals';
import { addressWith, href, route } from './router.ts';
import { keep, kept } from './session.ts';

const keyOf = (name: string): string => `dino-studio-place ${name}`;

/** Remembers what is shown as the place of this name. */
export const keepPlace = (name: string): void => keep(keyOf(name), addressWith({}));

/** Where a place was left; its beginning if it hasn't been opened yet. */
export function lastPlace(name: string, beginning: string): string {
  const address = kept(keyOf(name)) ?? '';
  // what another program of the same origin has kept is not followed
  const isOurs = address === beginning || ['/', '?'].some((next) => address.startsWith(beginning + next));
  return isOurs ? address : beginning;
}

effect(() => {
  const [section] = route.value.parts;
  if (section !== undefined) keepPlace(`section ${section}`);
});

/** Where the menu leads. */
export const lastInSection = (section: string): string => lastPlace(`section ${section}`, href(section));
