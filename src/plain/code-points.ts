/** Compares strings by code points, as Python does; JavaScript's order differs for characters beyond U+FFFF. */
export function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    const high = (code: number) => code >= 0xd800 && code <= 0xdfff;
    // half of a surrogate pair stands for a character above all others
    return high(x) === high(y) ? x - y : high(x) ? 1 : -1;
  }
  return a.length - b.length;
}
