/** Who listens to the studio's events, and what they are told. */
import type { StudioEvent } from '../plain/studio-api.js';

type Listener = (event: StudioEvent) => void;

export class EventHub {
  readonly #listeners = new Set<Listener>();
  readonly #watchers = new Set<(listening: boolean) => void>();

  get isHeard(): boolean {
    return this.#listeners.size > 0;
  }

  /** @returns A function that ends it. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) for (const watcher of this.#watchers) watcher(true);
    return () => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0)
        for (const watcher of this.#watchers) watcher(false);
    };
  }

  send(event: StudioEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Told when the first listener comes and the last one goes: without a page open, nothing is polled. */
  onHeard(watcher: (listening: boolean) => void): void {
    this.#watchers.add(watcher);
  }
}
