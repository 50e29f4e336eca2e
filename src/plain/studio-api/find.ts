/** What the studio's section Find and map asks and is told, and its routes. */
import type { TransformMode } from '../feature-transform.js';
import type { Task } from './everywhere.js';
import type { SkippedEntry } from './runs.js';

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
  /** Which writing of the index this is: rows are those of one generation, and every question says of which. */
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

/** What an index was made or brought up to date with: the result of the task. */
export interface IndexMade {
  index: string;
  /** What has changed, and what was left out and why, a sentence each. */
  notes: string[];
}

export interface LabelGroup {
  label: string;
  rows: number[];
}

/** What can be asked of the images of an index: questions hold rows, or their answers do. */
export type FindQuestion =
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

/** The generation that rows are of: one that is no longer the index's is refused with 409 and the code CHANGED. */
export interface OfGeneration {
  generation: number;
}

export type FindAsk = { kind: 'about' } | (FindQuestion & OfGeneration);

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

/** The section Find and map. */
export interface FindApi {
  /** The indexes in the given folders; `isWhole` is false when there are more folders than are looked through. */
  'GET /api/find/indexes': { reply: { indexes: IndexCard[]; isWhole: boolean } };
  'POST /api/find/index': {
    body: { weights: string; images: string; output: string; numHeads?: number | undefined };
    reply: Task;
  };
  'POST /api/find/map': { body: { index: string }; reply: Task };
  /** (N, 2) float32: where each image is on the map. */
  'GET /api/find/map': { query: { index: string } & OfGeneration; reply: Uint8Array };
  'POST /api/find/ask': { body: { index: string; ask: FindAsk }; reply: FindAnswer };
}
