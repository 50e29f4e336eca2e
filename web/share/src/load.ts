/** Loads a file of the page's folder. @throws Error that names it */
export async function load<T>(name: string, read: (response: Response) => Promise<T>): Promise<T> {
  const response = await fetch(new URL(name, document.baseURI));
  if (!response.ok) throw new Error(`${name} can’t be loaded: the server replied ${response.status}`);
  return read(response);
}

/** A file's bytes. @param loaded - Called with how many have arrived. */
export const download = async (
  name: string,
  loaded: (bytes: number) => void = () => undefined,
): Promise<Uint8Array<ArrayBuffer>> =>
  load(name, async ({ body }) => {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    let count = 0;
    const reader = body!.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      count += part.value.length;
      loaded(count);
    }
    const bytes = new Uint8Array(count);
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  });

/** Float32, little-endian. */
export const loadFloats = (name: string): Promise<Float32Array<ArrayBuffer>> =>
  load(name, async (response) => new Float32Array(await response.arrayBuffer()));
