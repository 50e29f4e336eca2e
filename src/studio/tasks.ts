/**
 * Long jobs that a person starts, watches and cancels: each runs in a process of its own, and its progress is sent to every
 * page. The list lives as long as the server; the tasks that ended last stay in it for pages that are opened later.
 */
import { randomUUID } from 'node:crypto';
import type { Task } from '../plain/studio-api/index.js';
import type { EventHub } from './event-hub.js';
import { StudioError } from './files.js';
import type { JobRunner } from './job-runner.js';
import type { JobName, Jobs } from './jobs/job.js';

const KEPT = 50;

export class Tasks {
  readonly #tasks = new Map<string, { task: Task; controller: AbortController }>();

  constructor(
    readonly runner: JobRunner,
    readonly events: EventHub,
  ) {}

  list(): Task[] {
    return [...this.#tasks.values()].map(({ task }) => task);
  }

  /**
   * @param index - The index that it makes or changes.
   * @returns At once; the job's output comes with a `task` event.
   */
  start<K extends JobName>(
    kind: K,
    title: string,
    input: Jobs[K]['input'],
    index: string | null = null,
  ): Task {
    const controller = new AbortController();
    const task: Task = { id: randomUUID(), kind, title, index, state: 'running', progress: null };
    this.#tasks.set(task.id, { task, controller });
    this.#forget();
    const tell = (change: Partial<Task>): void => {
      Object.assign(task, change);
      this.events.send({ type: 'task', task });
    };
    tell({});
    this.runner
      .run(kind, input, {
        process: 'own',
        signal: controller.signal,
        onProgress: (progress) => tell({ progress }),
      })
      .then((output) => tell({ state: 'done', result: output }))
      .catch((error: unknown) =>
        tell(
          controller.signal.aborted
            ? { state: 'cancelled' }
            : { state: 'failed', error: error instanceof Error ? error.message : String(error) },
        ),
      );
    return task;
  }

  /** @throws StudioError 404. */
  cancel(id: string): Task {
    const entry = this.#tasks.get(id);
    if (entry === undefined) throw new StudioError(404, 'This task no longer exists.');
    entry.controller.abort(new Error('cancelled'));
    return entry.task;
  }

  close(): void {
    for (const { controller } of this.#tasks.values()) controller.abort(new Error('the studio is closing'));
  }

  #forget(): void {
    for (const [id, { task }] of this.#tasks) {
      if (this.#tasks.size <= KEPT) return;
      if (task.state !== 'running') this.#tasks.delete(id);
    }
  }
}
