/** Errors, with messages that can be shown. */

/** The server refused a request, or could not be reached. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    /** A sentence for each problem, if there are several. */
    readonly problems: readonly string[] = [],
  ) {
    super(message);
  }
}

/** What to show of anything that was thrown. */
export const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
