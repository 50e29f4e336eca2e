/** What is known of a wheel's contents: SHA-256 and size of the file, and the SHA-256 of its RECORD. */
export interface KnownWheel {
  sha256: string;
  bytes: number;
  record: string;
}

export interface FetchOptions {
  /** Fetch what compiling needs, too. */
  headers?: boolean;
  /** Only say what would be done. */
  dryRun?: boolean;
  env?: Record<string, string | undefined>;
  log?: (line: string) => void;
  /** Bytes of the downloads. */
  onProgress?: (progress: { done: number; total: number }) => void;
  /** By file name; default scripts/torch-wheels.json. */
  known?: Record<string, KnownWheel>;
  /** Such as linux-x64; default this machine. */
  machine?: string;
  /** How often a download is attempted before it counts as failed; default 4. */
  tries?: number;
}

/** @throws SetupError for what the user can mend. */
export function fetchLibtorch(options?: FetchOptions): Promise<{ folder: string; bytes: number }>;
export function progressLines(
  say: (line: string) => void,
): (progress: { done: number; total: number }) => void;
