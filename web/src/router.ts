/** Addresses: `#/section/more/parts?name=value`. Links are plain `<a href={href('runs', id)}>`. */
import { computed, signal } from '@preact/signals';
import { keep, kept } from './session.ts';

/** Where an address waits that the browser may not have: what is written while a page goes, or just before, can be lost. */
const LEFT = `left ${location.pathname}`;
const hash = signal(location.hash);
recover();
addEventListener('hashchange', () => {
  clearTimeout(pending);
  pending = undefined;
  unnoted = [];
  hash.value = location.hash;
});
addEventListener('pagehide', () => {
  if (pending !== undefined || performance.now() - replaced < NOTED_MS)
    keep(LEFT, JSON.stringify([...unnoted, location.hash, hash.value]));
});

/** Browsers refuse to change an address a hundred times in some seconds, as a slider would: milliseconds between changes. */
const REPLACE_MS = 200;
let replaced = -Infinity;
/** The browser has surely taken note of an address that was written so many milliseconds ago. */
const NOTED_MS = 2000;
/** What a reload may load in place of the last address that was written: the ones before it, while they changed so fast. */
let unnoted: string[] = [];
let pending: number | undefined;

/** Shows what was shown when this tab left this address, by a reload or for another page. */
function recover(): void {
  const text = kept(LEFT);
  if (text === null) return;
  keep(LEFT, null);
  const addresses = JSON.parse(text) as string[];
  const shown = addresses.at(-1)!;
  if (!addresses.includes(location.hash)) return;
  history.replaceState(null, '', shown);
  hash.value = shown;
}

/** Writes the address that is shown, if it isn't there yet. */
function writePending(): void {
  if (pending === undefined) return;
  clearTimeout(pending);
  pending = undefined;
  if (performance.now() - replaced > NOTED_MS) unnoted = [];
  unnoted = [...unnoted, location.hash].slice(-NOTED_MS / REPLACE_MS);
  replaced = performance.now();
  history.replaceState(null, '', hash.value);
}

export interface Route {
  /** What lies between the slashes, decoded; the first one is the section. */
  parts: readonly string[];
  query: URLSearchParams;
}

export const route = computed<Route>(() => {
  const [path = '', search = ''] = hash.value.replace(/^#\/?/, '').split('?', 2);
  const parts = path.split('/').filter((part) => part !== '');
  return { parts: parts.map(decode), query: new URLSearchParams(search) };
});

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function href(...parts: readonly string[]): string {
  return `#/${parts.map(encodeURIComponent).join('/')}`;
}

export function navigate(address: string, { replace = false } = {}): void {
  if (replace) {
    hash.value = address;
    pending ??= window.setTimeout(writePending, REPLACE_MS);
    if (performance.now() - replaced > REPLACE_MS) writePending();
  } else {
    writePending();
    location.hash = address;
    hash.value = location.hash; // the event comes later
  }
}

/** The address with other choices; null takes one out of it. */
export function addressWith(changes: Readonly<Record<string, string | null>>): string {
  const { parts, query } = route.value;
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes))
    if (value === null) next.delete(name);
    else next.set(name, value);
  const search = next.toString();
  return href(...parts) + (search === '' ? '' : `?${search}`);
}

/** Keeps a choice in the address, so that a reload or a copied link shows the same. */
export function setQuery(name: string, value: string | null): void {
  navigate(addressWith({ [name]: value }), { replace: true });
}
