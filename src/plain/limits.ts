/** Bounds that the page and the server both hold to: the page says so before anything is sent. */

/** Bytes of an image that is dropped into the page. */
export const UPLOAD_LIMIT = 64 * 2 ** 20;
/** A body that is neither an upload nor a question about an index. */
export const BODY_LIMIT = 256 * 1024;
/** A question about an index: a lasso may hold a million rows. */
export const QUESTION_LIMIT = 8 * 2 ** 20;
