/** What the server pushes (runs, tasks), and whether it still answers. Each page has one connection, closed while it is hidden. */
import { batch, computed, signal } from '@preact/signals';
import type { RunSummary, StudioEvent, Task } from './api.ts';

/**
 * `silent`: nothing has come for a while, though the connection stands; `ended`: the studio has said that it ends; `lost`: it
 * went without a word.
 */
export type Connection = 'connecting' | 'live' | 'silent' | 'ended' | 'lost';

export const connection = signal<Connection>('connecting');
/** Off when the studio is gone: it can't do anything, and what it showed last may have changed since. */
export const isHeard = computed(() => connection.value !== 'lost' && connection.value !== 'ended');
/** The studio says something at least every two seconds. */
export const SILENT_MS = 8000;
/** null until the first list has arrived. */
export const runs = signal<readonly RunSummary[] | null>(null);
const tasks = signal<ReadonlyMap<string, Task>>(new Map());

type MetricsEvent = Extract<StudioEvent, { type: 'metrics' }>;
const metricsListeners = new Set<(event: MetricsEvent) => void>();

/** @returns A function that unsubscribes. */
export function onMetrics(listener: (event: MetricsEvent) => void): () => void {
  metricsListeners.add(listener);
  return () => metricsListeners.delete(listener);
}

/** The current state of a task, beginning with the reply to its start; when it changes, the component is rendered again. */
export const useTask = (started: Task | null): Task | null =>
  started === null ? null : (tasks.value.get(started.id) ?? started);

/** All tasks of a kind, also those that another page or an earlier visit started. */
export const tasksOf = (kind: string): Task[] =>
  [...tasks.value.values()].filter((task) => task.kind === kind);

/** A list in which only numbers have changed waits this long for the curves that changed them: one frame draws both. */
const SETTLE_MS = 500;
let held: readonly RunSummary[] | null = null;
let settling: number | undefined;

const shapeOf = (list: readonly RunSummary[] | null): string =>
  JSON.stringify(list?.map(({ id, state }) => [id, state]));

/** Shows the newest list, with all that `change` changes, in one frame. */
export function settle(change?: () => void): void {
  clearTimeout(settling);
  settling = undefined;
  batch(() => {
    if (held !== null) runs.value = held;
    held = null;
    change?.();
  });
}

let source: EventSource | null = null;

function handle(event: StudioEvent): void {
  switch (event.type) {
    case 'runs':
      held = event.runs;
      if (shapeOf(held) !== shapeOf(runs.peek())) settle();
      else settling ??= window.setTimeout(settle, SETTLE_MS);
      break;
    case 'metrics':
      for (const listener of metricsListeners) listener(event);
      break;
    case 'task':
      tasks.value = new Map(tasks.value).set(event.task.id, event.task);
      break;
    case 'end':
      settle();
      connection.value = 'ended';
      // another studio would have another token
      source?.close();
      source = null;
      break;
    case 'beat': // it only says that the studio is there
      break;
  }
}

let watch: number | undefined;

/** Begins to wait for the next event. */
function expectMore(): void {
  clearTimeout(watch);
  watch = window.setTimeout(() => {
    if (connection.value === 'live') connection.value = 'silent';
  }, SILENT_MS);
}

/** The server does not repeat events that nobody listened to: curves are fetched again. */
function catchUp(): void {
  for (const { id } of runs.peek() ?? [])
    for (const listener of metricsListeners) listener({ type: 'metrics', run: id, tail: null });
}

function open(): void {
  if (source !== null || connection.peek() === 'ended') return;
  source = new EventSource('/api/events');
  source.onopen = () => {
    connection.value = 'live';
    expectMore();
    catchUp();
  };
  source.onmessage = ({ data }: MessageEvent<string>) => {
    if (connection.value === 'silent') connection.value = 'live';
    expectMore();
    handle(JSON.parse(data) as StudioEvent);
  };
  source.onerror = () => {
    if (connection.value !== 'ended') connection.value = 'lost';
    // the browser does not retry a connection that was refused
    if (source?.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(open, 3000);
    }
  };
}

/** Starts listening; a hidden page closes its connection, since a browser has few of them for all its tabs. */
export function listen(): void {
  open();
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') return open();
    source?.close();
    source = null;
    clearTimeout(watch);
  });
}
