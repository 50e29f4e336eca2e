/** What the studio's section Runs is told, and its routes: runs, their curves, and the film of what they attend to. */

export type RunState = 'preparing' | 'running' | 'waiting' | 'finished' | 'stopped' | 'crashed' | 'damaged';

export interface RunSummary {
  /** Stands for the folder in addresses. */
  id: string;
  /** Shortest name that tells it from the others: its path relative to the given folder. */
  name: string;
  /** Absolute. */
  path: string;
  state: RunState;
  /** The state in a sentence, with what to do. */
  sentence: string;
  /** Steps done, and in all; null while not known. */
  step: number | null;
  totalSteps: number | null;
  epochs: number | null;
  stepsPerEpoch: number | null;
  /** When its metrics were last written, ms since 1970. */
  changed: number | null;
  images: string | null;
  arch: string | null;
  /** What people wrote about it; empty without a note. */
  note: string;
  /** Lists leave it out unless they are asked for all. */
  isHidden: boolean;
}

/** How far a metrics file has been read. */
export interface SeriesProgress {
  /** Whole lines of steps so far. */
  lines: number;
  /** Bytes read, and the file's size. */
  bytes: number;
  size: number;
  /** Grows when the file was cut or replaced: what was shown before is void. */
  generation: number;
}

/** A part of a run's curves. */
export interface SeriesQuery {
  /** What `from` and `to` count: steps, or seconds of training. */
  axis: 'step' | 'time';
  from?: number | undefined;
  to?: number | undefined;
  /** Points wanted, about one a pixel. */
  width: number;
  /** Names as in metrics.jsonl. */
  columns: string[];
}

/** How a run stands: comes with its curves, and is drawn with them. */
export interface RunNow extends SeriesProgress {
  /** The collapse monitor's sentence; null without settings. */
  verdict: { kind: string; message: string } | null;
  /** The newest line. */
  last: { step: number; values: Record<string, number> } | null;
  /** Where the whole curve ends, in seconds of training. */
  seconds: number;
  /** Changes when the run's details do. */
  detailsMark: string;
}

/** How a run stands after a reading, for whoever has its curves up to there. */
export interface SeriesTail {
  now: RunNow;
  /** The lines that have just been written; none when they are many. */
  points: { step: number; seconds: number; values: Record<string, number> }[];
}

/** What precedes the numbers of a series, see series.ts. */
export interface SeriesHeader extends RunNow {
  /** Points that follow. */
  count: number;
  /** Those that the run has of the columns asked for. */
  columns: string[];
  /** Every line is a point; otherwise a point is a bucket of lines with mean, least and greatest value. */
  isExact: boolean;
}

export interface SkippedEntry {
  path: string;
  reason: string;
}

export interface CheckpointEntry {
  step: number;
  path: string;
  /** Bytes of its files. */
  bytes: number;
  /** ms since 1970 */
  written: number;
  isNewest: boolean;
  /** Whether it holds the weights that the judge found best. */
  isBest: boolean;
}

/** A run's config.json, as src/run/run-folder.ts reads it. */
export interface RunSettings {
  version: string;
  images: string;
  imageCount: number;
  fingerprint: string;
  processes: number;
  settings: object;
}

/** All there is to know of a run but its curves. */
export interface RunDetails {
  summary: RunSummary;
  /** As a series' header has it: details of another mark are old. */
  mark: string;
  config: RunSettings | null;
  /** ln K, the most that entropy and loss of an untrained network reach. */
  lnK: number | null;
  /** Names of the columns in its metrics. */
  columns: string[];
  /** Evaluations during training, from its metrics. */
  scores: { step: number; values: Record<string, unknown> }[];
  /** Results that were kept with the run: name, and the content of the file. */
  evaluations: { name: string; content: Record<string, unknown> | null; problem: string | null }[];
  checkpoints: CheckpointEntry[];
  skipped: { count: number; first: SkippedEntry[] };
  /** Lines of the metrics that could not be read. */
  bad: { count: number; firstLine: number | null };
  /** What is wrong with its files, each a sentence. */
  problems: string[];
}

/** A watched image of a run, see src/run/film-folder.ts. */
export interface FilmImage {
  /** Stands for it in addresses. */
  name: string;
  /** The file that it was made of, without its folders. */
  source: string;
  width: number;
  height: number;
  rows: number;
  columns: number;
  /** Steps after which its attention was kept, rising. */
  steps: number[];
  /** Shares of the original's width and height that the patches cover; null when it can't be shown here. */
  original: [width: number, height: number] | null;
}

/**
 * The watched images' attention after a step, see packed.ts: for each one without a problem an array (heads, rows, columns).
 * Images that have no frame of this step are left out.
 */
export interface FilmFrameFacts {
  step: number;
  images: { name: string; heads: number; rows: number; columns: number; problem: string | null }[];
}

/** The section Runs. */
export interface RunsApi {
  'GET /api/runs': { reply: RunSummary[] };
  'GET /api/runs/:run': { params: { run: string }; reply: RunDetails };
  /** `columns` are joined by commas. */
  'GET /api/runs/:run/series': {
    params: { run: string };
    query: Omit<SeriesQuery, 'columns'> & { columns: string };
    reply: Uint8Array<ArrayBuffer>;
  };
  /** `before`: the note that was changed; another one that was written meanwhile is not replaced. */
  'POST /api/runs/:run/note': {
    params: { run: string };
    body: { text: string; before: string };
    reply: RunSummary;
  };
  'POST /api/runs/:run/hidden': { params: { run: string }; body: { isHidden: boolean }; reply: RunSummary };
  'GET /api/runs/:run/watch': { params: { run: string }; reply: FilmImage[] };
  /** Packed, with FilmFrameFacts. */
  'GET /api/runs/:run/frames/:step': {
    params: { run: string; step: string };
    reply: Uint8Array;
  };
}
