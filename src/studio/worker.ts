/** The process that a job runs in; started by job-runner.ts, and ends with it. */
import { describeError } from '../files/describe-error.js';
import { stackText } from '../plain/printable.js';
import { StudioError } from './files.js';
import { jobs } from './jobs/index.js';
import type { JobContext, JobName } from './jobs/job.js';

/** What the server sends. */
export type ToWorker =
  { type: 'run'; id: number; name: JobName; input: unknown } | { type: 'abort'; id: number };
/** What comes back. */
export type FromWorker =
  | { type: 'progress'; id: number; progress: Parameters<JobContext['progress']>[0] }
  | { type: 'done'; id: number; output: unknown }
  /** `status`: of a StudioError. */
  | { type: 'failed'; id: number; code: string; message: string; status?: StudioError['status'] };

const send = (message: FromWorker): void => {
  process.send?.(message);
};
const running = new Map<number, AbortController>();

async function run(id: number, name: JobName, input: unknown): Promise<void> {
  const controller = new AbortController();
  running.set(id, controller);
  try {
    const { run: job } = (await jobs[name]()) as {
      run: (input: unknown, context: JobContext) => Promise<unknown>;
    };
    let last = 0;
    const output = await job(input, {
      signal: controller.signal,
      progress(progress) {
        // ten a second are enough for eyes
        const now = performance.now();
        if (now - last < 100 && progress.done !== progress.total) return;
        last = now;
        send({ type: 'progress', id, progress });
      },
    });
    send({ type: 'done', id, output });
  } catch (error) {
    if (error instanceof StudioError) {
      const { code, message, status } = error;
      return send({ type: 'failed', id, code, message, status });
    }
    const { text, code } = describeError(error);
    if (code === 'INTERNAL') console.error(stackText(error));
    send({ type: 'failed', id, code, message: text });
  } finally {
    running.delete(id);
  }
}

process.on('message', (message: ToWorker) => {
  if (message.type === 'run') void run(message.id, message.name, message.input);
  else running.get(message.id)?.abort(new Error('cancelled'));
});
process.on('disconnect', () => process.exit(0));
// Ctrl-C in the terminal, or its end, reaches the whole group: the server ends this process when it is done
for (const name of ['SIGINT', 'SIGHUP'] as const) process.on(name, () => undefined);
