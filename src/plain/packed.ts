/**
 * A reply made of numbers: JSON that describes them, then the arrays themselves, each starting at a multiple of 4 bytes.
 * The server writes it and the page reads it.
 */

type PackedArray = Float32Array | Uint8Array;

interface ArrayPlace {
  kind: 'float32' | 'uint8';
  length: number;
}

const padded = (bytes: number): number => Math.ceil(bytes / 4) * 4;

/** @param facts - Anything that JSON can hold. */
export function packArrays(facts: unknown, arrays: readonly PackedArray[]): Uint8Array<ArrayBuffer> {
  const places = arrays.map((array): ArrayPlace => ({
    kind: array instanceof Float32Array ? 'float32' : 'uint8',
    length: array.length,
  }));
  const head = new TextEncoder().encode(JSON.stringify({ facts, places }));
  const start = 4 + padded(head.length);
  const out = new Uint8Array(start + arrays.reduce((sum, array) => sum + padded(array.byteLength), 0));
  new DataView(out.buffer).setUint32(0, head.length, true);
  out.set(head, 4);
  let at = start;
  for (const array of arrays) {
    out.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), at);
    at += padded(array.byteLength);
  }
  return out;
}

/** @throws Error for bytes that are not the complete output of packArrays(). */
export function unpackArrays(bytes: Uint8Array<ArrayBuffer>): { facts: unknown; arrays: PackedArray[] } {
  // arrays must start at multiples of 4 in their buffer
  const whole = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const length = new DataView(whole.buffer, whole.byteOffset).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(whole.subarray(4, 4 + length))) as {
    facts: unknown;
    places: ArrayPlace[];
  };
  let at = whole.byteOffset + 4 + padded(length);
  const arrays = head.places.map(({ kind, length: count }) => {
    const array =
      kind === 'float32'
        ? new Float32Array(whole.buffer, at, count)
        : new Uint8Array(whole.buffer, at, count);
    at += padded(array.byteLength);
    return array;
  });
  return { facts: head.facts, arrays };
}
