/**
 * Light, dark, or the system’s choice: `data-theme` on the root, for which styles.css has rules; every colour there is a
 * light-dark() pair. (The build rewrites these pairs for older browsers, by the rules that set `color-scheme`: one that is set by
 * a script would change nothing.)
 */
import { effect, signal } from '@preact/signals';

export type Theme = 'auto' | 'light' | 'dark';
const KEY = 'dino-studio-theme';

const saved = localStorage.getItem(KEY);
export const theme = signal<Theme>(saved === 'light' || saved === 'dark' ? saved : 'auto');

/** Grows whenever colours may have changed: canvases must be drawn again. */
export const colorsChanged = signal(0);

effect(() => {
  document.documentElement.dataset['theme'] = theme.value;
  if (theme.value === 'auto') localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, theme.value);
  colorsChanged.value = colorsChanged.peek() + 1;
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => colorsChanged.value++);

const probe = document.createElement('span');
probe.hidden = true;

const known = new Map<string, string>();
effect(() => {
  void colorsChanged.value;
  known.clear();
});

/** A colour of styles.css as a canvas takes it: `color('accent')`. */
export function color(name: string): string {
  let found = known.get(name);
  if (found !== undefined) return found;
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(--${name})`;
  found = getComputedStyle(probe).color;
  known.set(name, found);
  return found;
}
