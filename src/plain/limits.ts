/** Limits that the page and the server share, so that the page can refuse before anything is sent. */

/** Bytes of an image that is dropped onto the page. */
export const UPLOAD_LIMIT = 64 * 2 ** 20;
/** Bytes of a request body that is neither an upload nor a query on an index. */
export const BODY_LIMIT = 256 * 1024;
/** Bytes of a query on an index: a lasso may hold a million rows. */
export const QUESTION_LIMIT = 8 * 2 ** 20;
/** Characters (UTF-16) of the note on a run. */
export const NOTE_LIMIT = 4000;
