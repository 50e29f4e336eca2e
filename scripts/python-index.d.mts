/** Where Python's packages come from, by the settings of pip and uv. */
export interface IndexSettings {
  /** Asked in this order. */
  indexes: string[];
  /** Folders of this machine that hold wheels. */
  folders: string[];
  /** A file of certificates to trust, beside Node's own. */
  cert?: string;
  proxy?: string;
}

/** A file that an index or a folder has. */
export interface IndexFile {
  filename: string;
  url?: string;
  path?: string;
  sha256: string | null;
  size: number | null;
}

export function indexSettings(
  env?: Record<string, string | undefined>,
  platform?: string,
  home?: string,
): IndexSettings;
export function chooseWheel(
  files: IndexFile[],
  options: { version: string; machine: string; known?: Record<string, unknown> },
): IndexFile | null;
