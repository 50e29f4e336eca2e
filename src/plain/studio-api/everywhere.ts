/** What all sections of the studio have in common: folders, tasks, events, and their routes. */
import type { RunSummary, SeriesTail } from './runs.js';

/** GET /api/studio */
export interface StudioInfo {
  version: string;
  /** The folders that were given: nothing outside them is read. */
  folders: string[];
  /** Where the path separator and the like matter. */
  platform: string;
}

/** The body of every reply that is not a success. */
export interface ApiError {
  error: { code: string; message: string; problems?: string[] };
}

/** A computation in a process of its own that the page watches, can cancel, and takes the result of. */
export interface Task {
  id: string;
  /** Name of the job, see jobs/index.ts. */
  kind: string;
  /** What it is about, in words. */
  title: string;
  /** The index that it makes or changes; null for every other task. */
  index: string | null;
  state: 'running' | 'done' | 'failed' | 'cancelled';
  progress: TaskProgress | null;
  /** The job's output, of a task that is done; its type is that of the job. */
  result?: unknown;
  /** Why it failed. */
  error?: string;
}

export interface TaskProgress {
  done: number;
  /** null while it isn't known. */
  total: number | null;
  message?: string;
}

/** What the server pushes by SSE on /api/events. */
export type StudioEvent =
  /** The list of runs, whenever a run came, went or changed its state; sent once at the beginning too. */
  | { type: 'runs'; runs: RunSummary[] }
  /** New lines of metrics of a run; null while a long file is read, or when none is until a page asks for its curves. */
  | { type: 'metrics'; run: string; tail: SeriesTail | null }
  /** A task as it is now; at the beginning those there are. */
  | { type: 'task'; task: Task }
  /** Nothing has happened for a while, and the studio is there. */
  | { type: 'beat' }
  /** The studio ends. */
  | { type: 'end' };

/** A folder as the page browses them. */
export interface FolderEntry {
  name: string;
  /** Absolute. */
  path: string;
  /** Files in it that are named like images, not counting those in folders below; null when it can't be read. */
  images: number | null;
  /** Images in it and in the folders below, and folders that hold some; `isWhole` is false when there are more. */
  below: { images: number; folders: number; isWhole: boolean };
  isRun: boolean;
}

export interface FolderListing {
  path: string;
  /** null at one of the given folders. */
  parent: string | null;
  folders: FolderEntry[];
  /** Images in it, in order, from the first one asked for; at most `IMAGES_LISTED` of them. */
  images: { name: string; path: string }[];
  /** Images in it in all. */
  imageCount: number;
}

/** Routes that no section has for itself. */
export interface EverywhereApi {
  'GET /api/studio': { reply: StudioInfo };
  /** `from`: the first image that is listed, counted from 0. */
  'GET /api/folders': {
    query: { path?: string | undefined; from?: number | undefined };
    reply: FolderListing;
  };
  'GET /api/tasks': { reply: Task[] };
  'POST /api/tasks/:task/cancel': { params: { task: string }; reply: Task };
}
