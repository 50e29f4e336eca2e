/** What went wrong, in words that can be shown. */

/** The server refused a request, or could not be reached. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    /** Each a sentence, where several things are wrong. */
    readonly problems: readonly string[] = [],
  ) {
    super(message);
  }
}

/** What to show of anything that was thrown. */
export const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
