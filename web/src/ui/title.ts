/** The title of the browser's tab: what is shown, before the section's name. */
import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';

const shown = signal<string | null>(null);

/** Puts words before the section's title while the component is there; null for none. */
export function useTitle(words: string | null): void {
  useEffect(() => {
    shown.value = words;
    return () => {
      shown.value = null;
    };
  }, [words]);
}

/** The whole title. */
export const titleOf = (section: string | undefined): string =>
  [shown.value, section, 'dino studio'].filter((part) => part != null).join(' – ');
