/**
 * What the studio's page and its server say to each other: only types, imported by both, so that neither can change
 * without the other. A route is a key of `Api`; `route()` in routes/route.ts serves it and `request()` in web/src/api.ts
 * asks for it. What a page sends is checked by the route's zod schema: types do not stop a malicious client.
 */
import type { TransformMode } from './feature-transform.js';
import type { FlagKind } from './flag-values.js';

// ------------------------------------------------------------------------------------------------- everything

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

// ------------------------------------------------------------------------------------------------------- runs

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

// ------------------------------------------------------------------------------------------- attention's film

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

// ------------------------------------------------------------------------------------------------------- look

/** A model that can be looked with. */
export interface LookModel {
  /** Absolute. */
  path: string;
  name: string;
  kind: 'run' | 'file';
  /** Of a run, oldest first; it is looked with at the newest unless one is named. */
  checkpoints: { step: number; path: string }[];
}

/** An image of the given folders, or one that was uploaded. */
export type LookImage = { path: string } | { upload: string };

/** An image that was given by hand: its name for later requests, and its size in pixels. */
export interface LookUpload {
  id: string;
  width: number;
  height: number;
}

export interface LookRequest {
  /** WEIGHTS: a run, a checkpoint, a file. */
  weights: string;
  /** `teacher`, or the only one there is; or another network of the file. */
  checkpointKey: string;
  /** Of a file that doesn't say its attention heads; else null. */
  numHeads?: number | null | undefined;
  /** One, or two that share their colours. */
  images: LookImage[];
  /** Shorter side in pixels; null for the usual one. */
  side: number | null;
}

/**
 * What is known of packed arrays, see packed.ts: for each image its pixels (height, width, 3), maps (heads, rows, columns),
 * and where there are any features (rows * columns, embedDim), of length 1, colours (rows, columns, 3) that are black in the
 * background, and colours of all patches.
 */
export interface LookFacts {
  arch: string;
  patchSize: number;
  imgSize: number;
  embedDim: number;
  /** What the weights leave open: which network was taken, heads that are guessed. */
  remarks: string[];
  /** Shares of the variance in the three colours; empty without. */
  explained: number[];
  milliseconds: number;
  images: {
    rows: number;
    columns: number;
    width: number;
    height: number;
    heads: number;
    /** Shares of the original's width and height that the patches cover. */
    original: [width: number, height: number];
    hasFeatures: boolean;
    hasColours: boolean;
  }[];
}

// ------------------------------------------------------------------------------------------------------ start

/** What a preset chose, and why. */
export interface ChosenSetting {
  name: string;
  value: unknown;
  reason: string;
}

/** What a folder of images holds. */
export interface ImagesReport {
  /** As listed: the folder or text file. */
  source: string;
  count: number;
  /** By class; null when the source has no classes. */
  classes: { name: string; count: number }[] | null;
  /** Images whose headers were read for what follows; all, or a sample spread evenly. */
  checked: number;
  /** Those of them that can't be read, the first ones with the reason. */
  broken: { count: number; first: SkippedEntry[] };
  /** Links that lead outside the given folders: training on them is refused here. */
  outside: number;
  width: { least: number; median: number; greatest: number };
  height: { least: number; median: number; greatest: number };
  /** Bytes of the files that were checked, taken to all. */
  bytes: number;
  /** Formats of those that were checked, by name. */
  formats: Record<string, number>;
  /** Files that are not images, by extension. */
  leftOut: { count: number; byExtension: Record<string, number> };
  /** Lines on what was left out, or taken in a way that may not be meant. */
  remarks: string[];
  unreadableFolders: SkippedEntry[];
}

export type PresetChoice = 'auto' | 'paper';

/** What a training would be begun with. */
export interface StartRequest {
  images: string;
  preset: PresetChoice;
  /** Settings by flag name or camelCase, as typed. */
  overrides: Record<string, string>;
}

/** A setting that a training has. */
export interface SettingField {
  name: string;
  kind: FlagKind;
  /** What it is, as in the help of `dino train`. */
  help: string;
}

/** GET of what the preset chooses, and why. */
export interface StartPlan {
  settings: Record<string, unknown>;
  /** All there are, in the order of the help. */
  fields: SettingField[];
  choices: ChosenSetting[];
  warnings: string[];
  device: string;
  steps: number;
  /** How long the training may take; then how many steps fit is measured when it starts. */
  seconds: number | null;
  stepsPerEpoch: number;
}

/** Crops of a few images, as training would see them: each a WebP in base64. */
export interface CropSamples {
  images: { path: string; globals: string[]; locals: string[] }[];
}

/** What a few steps took. */
export interface TrialResult {
  /** Steps that were timed, after the first ones. */
  steps: number;
  secondsPerStep: number;
  imagesPerSecond: number;
  dataWaitPercent: number;
  /** Most resident memory of the process, MiB. */
  memoryMiB: number;
  /** A checkpoint's size and time. */
  checkpointMiB: number;
  parameters: number;
  device: string;
  precision: string;
  /** The whole training at this speed, seconds; without checkpoints and evaluations. */
  totalSeconds: number;
  totalSteps: number;
}

// ------------------------------------------------------------------------------------------------------- find

/** An image of an index. */
export interface FoundImage {
  row: number;
  /** Absolute; its picture is asked for with it. */
  path: string;
  /** Relative to the index's root. */
  name: string;
  /** Its class folder. */
  label: string | null;
  /** Similarity, or certainty of a proposal; null where there is none. */
  score: number | null;
  /** Of a similarity: the share of pairs of the index's images that are less alike, 0 to 1. */
  share: number | null;
}

/** An index as a list shows it, without opening it. */
export interface IndexCard {
  folder: string;
  /** Relative to the given folder that it is in. */
  name: string;
  /** What is wrong with it; then the rest says nothing. */
  problem: string | null;
  images: number;
  source: string;
  weights: string;
  /** ms since 1970 */
  written: number;
  /** Paths of some of its images. */
  pictures: string[];
}

export interface IndexAbout {
  folder: string;
  /** How often the index was written: rows are those of one generation. */
  generation: number;
  /** Attention heads, where they had to be given. */
  numHeads: number | null;
  images: number;
  width: number;
  /** Images that could not or may not be read. */
  skipped: { count: number; first: SkippedEntry[] };
  source: string;
  weights: string;
  features: string;
  /** How features are transformed before they are compared, and why. */
  whitening: { mode: TransformMode; reason: string };
  hasMap: boolean;
}

export interface LabelGroup {
  label: string;
  rows: number[];
}

/** What can be asked of an index. */
export type FindAsk =
  | { kind: 'about' }
  | { kind: 'images'; rows: number[] }
  /** The paths of all images. */
  | { kind: 'names' }
  | {
      kind: 'search';
      plus: number[];
      minus: number[];
      /** An image that was uploaded, in place of rows. */
      upload?: string | undefined;
      region?: [x: number, y: number, width: number, height: number] | undefined;
      top: number;
    }
  /** Without a threshold, that of `pairs`. */
  | { kind: 'duplicates'; threshold?: number | undefined }
  /** The most similar pairs, and the similarity from which two images count as the same by default. */
  | { kind: 'pairs' }
  | { kind: 'clusters'; clusters?: number | undefined }
  /** How far every image is from the others. */
  | { kind: 'outliers' }
  | { kind: 'select'; size: number; by: 'diverse' | 'typical' | 'both' }
  /** What was labelled so far. */
  | { kind: 'labels' }
  /** Labels images, or takes their labels away, and answers as `labels`. */
  | { kind: 'label'; label: string | null; rows: number[] }
  /** Labels for the neighbours of what was labelled. */
  | { kind: 'propose' }
  | {
      kind: 'export';
      /** A table of paths and labels, a list of paths, or a folder. */
      how: 'table' | 'list' | 'copy' | 'link';
      /** The file, or a new folder, with a folder a group. */
      target: string;
      /** Default: what has labels. */
      groups?: LabelGroup[] | undefined;
    };

export type FindAnswer =
  | { kind: 'about'; about: IndexAbout }
  | { kind: 'images'; images: FoundImage[] }
  /** Relative to `root`, with `/`; in the order of the rows. */
  | { kind: 'names'; root: string; names: string[] }
  /** `size`: the number of clusters, or the threshold of duplicates. */
  | { kind: 'groups'; size: number; groups: { rows: number[]; images: FoundImage[] }[] }
  /** Each pair once, the most similar first: (pairs, 2) rows, (pairs) similarities. `isAll`: none was left out. */
  | { kind: 'pairs'; threshold: number; rows: number[]; similarities: number[]; isAll: boolean }
  /** For every row, robust standard deviations above the usual distance. */
  | { kind: 'scores'; scores: number[] }
  /** `damaged`: lines of the file of labels that could not be read. */
  | { kind: 'labels'; groups: LabelGroup[]; damaged: number }
  | { kind: 'proposals'; proposals: (FoundImage & { proposed: string })[] }
  | { kind: 'exported'; count: number };

// --------------------------------------------------------------------------------------------------- the table

/** Every route: what is in its path, its query and its body, and what it replies. */
export interface Api extends StartApi, LookApi, FindApi {
  'GET /api/studio': { reply: StudioInfo };
  /** `from`: the first image that is listed, counted from 0. */
  'GET /api/folders': {
    query: { path?: string | undefined; from?: number | undefined };
    reply: FolderListing;
  };
  'GET /api/tasks': { reply: Task[] };
  'POST /api/tasks/:task/cancel': { params: { task: string }; reply: Task };
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
}

/** The sections Look and Runs' film. */
export interface LookApi {
  'GET /api/runs/:run/watch': { params: { run: string }; reply: FilmImage[] };
  /** Packed, with FilmFrameFacts. */
  'GET /api/runs/:run/frames/:step': {
    params: { run: string; step: string };
    reply: Uint8Array;
  };
  'GET /api/look/models': { reply: LookModel[] };
  /** A few images of the given folders, to begin with. */
  'GET /api/look/samples': { reply: { name: string; path: string }[] };
  /** Keeps an image for later requests. */
  'POST /api/upload/look': { body: Blob; reply: LookUpload };
  /** Packed, with LookFacts. */
  'POST /api/look': { body: LookRequest; reply: Uint8Array };
}

/** The section Find and map. */
export interface FindApi {
  /** The indexes in the given folders. */
  'GET /api/find/indexes': { reply: IndexCard[] };
  'POST /api/find/index': {
    body: { weights: string; images: string; output: string; numHeads?: number | undefined };
    reply: Task;
  };
  'POST /api/find/map': { body: { index: string }; reply: Task };
  /** (N, 2) float32: where each image is on the map. */
  'GET /api/find/map': { query: { index: string }; reply: Uint8Array };
  'POST /api/find/ask': { body: { index: string; ask: FindAsk }; reply: FindAnswer };
}

/** The section Start. */
export interface StartApi {
  'POST /api/start/inspect': { body: { images: string }; reply: Task };
  'POST /api/start/plan': { body: StartRequest; reply: StartPlan };
  'POST /api/start/crops': { body: StartRequest & { seed: number }; reply: CropSamples };
  'POST /api/start/trial': { body: StartRequest; reply: Task };
  'POST /api/start/train': { body: StartRequest & { output: string }; reply: { run: string } };
  'POST /api/runs/:run/stop': { params: { run: string }; reply: RunSummary };
  'POST /api/runs/:run/resume': { params: { run: string }; reply: RunSummary };
}

export type RouteName = keyof Api;
type Part<K extends RouteName, Name extends string, Otherwise> =
  Api[K] extends Record<Name, infer T> ? T : Otherwise;
export type ParamsOf<K extends RouteName> = Part<K, 'params', Record<never, string>>;
export type QueryOf<K extends RouteName> = Part<K, 'query', undefined>;
export type BodyOf<K extends RouteName> = Part<K, 'body', undefined>;
/** A Uint8Array, or a Blob that is sent, travels as bytes, all else as JSON. */
export type ReplyOf<K extends RouteName> = Api[K]['reply'];
