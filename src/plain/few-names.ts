/** Names in a message, where there may be thousands. */
import { printable } from './printable.js';

/** `a, b, c and 7 more`. @param most - That are named. */
export const fewNames = (names: readonly string[], most: number): string =>
  names.slice(0, most).map(printable).join(', ') +
  (names.length > most ? ` and ${names.length - most} more` : '');
