/** The studio's events, and who listens to them. */
import type { StudioEvent } from '../plain/studio-api/index.js';

type Listener = (event: StudioEvent) => void;

export class EventHub {
  readonly #listeners = new Set<Listener>();
  readonly #watchers = new Set<(listening: boolean) => void>();

  get isHeard(): boolean {
    return this.#listeners.size > 0;
  }

  /** @returns A function that stops listening. */
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

  /** Called when the first listener comes and when the last one goes: nothing is polled while no page is open. */
  onHeard(watcher: (listening: boolean) => void): void {
    this.#watchers.add(watcher);
  }
}
