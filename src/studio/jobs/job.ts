/** Inputs and outputs of the studio's jobs. They are cloned as structuredClone() does (typed arrays are fine). */
import type { LookResult } from '../../explain/look.js';
import type {
  CropSamples,
  FindAnswer,
  FindAsk,
  OfGeneration,
  ImagesReport,
  IndexMade,
  StartPlan,
  StartRequest,
  TaskProgress,
  TrialResult,
} from '../../plain/studio-api/index.js';

export interface JobContext {
  /** Aborted when nobody wants the result any more. */
  signal: AbortSignal;
  progress: (progress: TaskProgress) => void;
}

export interface Jobs {
  'start-inspect': { input: { images: string }; output: ImagesReport };
  'start-plan': { input: StartRequest; output: StartPlan };
  'start-crops': { input: StartRequest & { seed: number }; output: CropSamples };
  'start-trial': { input: StartRequest; output: TrialResult };
  /** See src/explain/look.ts. */
  look: {
    input: {
      /** The file itself. */
      weights: string;
      /** Null: the teacher, or whatever network there is. */
      checkpointKey: string | null;
      numHeads: number | null;
      images: (string | Uint8Array)[];
      side: number | null;
      maxPatches: number;
      pca: boolean;
    };
    output: LookResult & {
      arch: string;
      patchSize: number;
      imgSize: number;
      milliseconds: number;
      remarks: string[];
    };
  };
  /** A question to an index. */
  find: {
    input: {
      index: string;
      ask:
        | Exclude<FindAsk, { kind: 'search' | 'export' }>
        | (Omit<Extract<FindAsk, { kind: 'search' }>, 'upload'> & {
            /** What the page uploaded. */
            image?: Uint8Array;
            /** Where the rows of a region are. */
            files?: string[];
          })
        | ({ kind: 'map' } & OfGeneration)
        | ({
            kind: 'put';
            how: Extract<FindAsk, { kind: 'export' }>['how'];
            target: string;
            /** Paths by label. */
            groups: ReadonlyMap<string, string[]>;
          } & OfGeneration);
    };
    output: FindAnswer | { kind: 'map'; positions: Float32Array | null };
  };
  /** Makes or updates an index (`weights` null: leaves it as it is) and its map. */
  'index-images': {
    input: {
      index: string;
      weights: { given: string; images: string; numHeads?: number | undefined } | null;
    };
    output: IndexMade;
  };
}

export type JobName = keyof Jobs;
export type JobFunction<K extends JobName> = (
  input: Jobs[K]['input'],
  context: JobContext,
) => Promise<Jobs[K]['output']>;
