/**
 * The computations that the studio does outside its server: what needs libtorch, or more than a few milliseconds. Each is
 * a file of this folder, loaded in a process of its own (worker.ts); a crash there only becomes a message in the page.
 *
 * A job's process may read only below the studio's folders (src/files/read-below.ts), also where a link or a list leads
 * elsewhere.
 *
 * To add one: its types in job.ts, its file in `jobs`.
 */
import type { JobFunction, JobName } from './job.js';

/** Loaded only in the worker. */
export const jobs: { readonly [K in JobName]: () => Promise<{ run: JobFunction<K> }> } = {
  'start-inspect': () => import('./start-inspect.js'),
  'start-plan': () => import('./start-plan.js'),
  'start-crops': () => import('./start-crops.js'),
  'start-trial': () => import('./start-trial.js'),
  look: () => import('./look.js'),
  find: () => import('./find.js'),
  'index-images': () => import('./index-images.js'),
};
