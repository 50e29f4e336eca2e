/** Lines of a file that is read piece by piece. */

/**
 * Yields the whole lines, without their ends, and returns what stands after the last one: the half line that a killed
 * process may leave, or nothing.
 *
 * @param tooLong - Makes the error for a line of more than `maxBytes`.
 */
export function* linesOf(
  pieces: Iterable<Buffer>,
  maxBytes: number,
  tooLong: () => Error,
): Generator<string, string> {
  let rest: Buffer = Buffer.alloc(0);
  for (const piece of pieces) {
    const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    let start = 0;
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
      if (end - start > maxBytes) throw tooLong();
      yield bytes.toString('utf8', start, end);
      start = end + 1;
    }
    rest = Buffer.from(bytes.subarray(start)); // a copy: the piece's memory may be used again
    if (rest.length > maxBytes) throw tooLong();
  }
  return rest.toString('utf8');
}
