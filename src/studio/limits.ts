/** Bounds that the page and the server both hold to: the page says so before anything is sent. */

/** Bytes of an image that is dropped into the page. */
export const UPLOAD_LIMIT = 64 * 2 ** 20;
