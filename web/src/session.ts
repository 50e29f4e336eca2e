/** What a tab keeps until it is closed, reloads included. Where the browser doesn't allow it, or it is full, nothing is kept. */

function stored<T>(use: (storage: Storage) => T): T | null {
  try {
    return use(sessionStorage);
  } catch {
    return null;
  }
}

/** null: nothing is kept under this name. */
export const kept = (name: string): string | null => stored((storage) => storage.getItem(name));

/** @param value - null: nothing is kept any more. */
export function keep(name: string, value: string | null): void {
  stored((storage) => (value === null ? storage.removeItem(name) : storage.setItem(name, value)));
}
