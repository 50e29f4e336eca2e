/**
 * The brackets of a JSON text in order, without those in strings: 1 where a list or an object opens, -1 where it closes. For
 * a check before JSON.parse(), which allocates memory for whatever an untrusted file holds.
 */
export function* brackets(json: string): Generator<1 | -1> {
  let isString = false;
  for (let i = 0; i < json.length; i++) {
    const code = json.charCodeAt(i);
    if (isString) {
      if (code === 0x5c) i++;
      else isString = code !== 0x22;
    } else if (code === 0x22) isString = true;
    else if (code === 0x5b || code === 0x7b) yield 1;
    else if (code === 0x5d || code === 0x7d) yield -1;
  }
}
