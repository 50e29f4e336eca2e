import type { RunState } from '../api.ts';

/** A run's state: a coloured dot, and always its word. */
export function StateMark({ state }: { state: RunState }) {
  return <span class={`state ${state}`}>{state}</span>;
}
