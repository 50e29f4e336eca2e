/** Light, dark, or as the system has it: `color-scheme` on the root; every colour in styles.css is a light-dark() pair. */
import { effect, signal } from '@preact/signals';

export type Theme = 'auto' | 'light' | 'dark';
const KEY = 'dino-studio-theme';

const saved = localStorage.getItem(KEY);
export const theme = signal<Theme>(saved === 'light' || saved === 'dark' ? saved : 'auto');

/** Grows whenever colours may have changed: a canvas must be drawn anew. */
export const coloursChanged = signal(0);

effect(() => {
  document.documentElement.style.colorScheme = theme.value === 'auto' ? 'light dark' : theme.value;
  if (theme.value === 'auto') localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, theme.value);
  coloursChanged.value = coloursChanged.peek() + 1;
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => coloursChanged.value++);

const probe = document.createElement('span');
probe.hidden = true;

const colours = new Map<string, string>();
effect(() => {
  void coloursChanged.value;
  colours.clear();
});

/** A colour of styles.css as a canvas takes it: `colour('accent')`. */
export function colour(name: string): string {
  const known = colours.get(name);
  if (known !== undefined) return known;
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  colours.set(name, found);
  return found;
}
