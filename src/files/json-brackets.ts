/**
 * The brackets of a JSON text, in their order: 1 for one that opens a list or an object, -1 for one that closes it; those in
 * strings don't count. A look before JSON.parse(), which takes memory for whatever a stranger's file holds.
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
