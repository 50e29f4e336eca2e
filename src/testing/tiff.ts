/** TIFFs of any number of channels for tests, as GDAL and tifffile write them. */
import { deflateSync } from 'node:zlib';

export interface TiffOptions {
  width: number;
  height: number;
  channels: number;
  /** 2 for RGB with further bands, 1 (default) for gray bands, 0 for gray where 0 is white. */
  photometric?: 0 | 1 | 2;
  /** What the samples after the colours are: 0 (default) unspecified, 1 and 2 an alpha. */
  extraSamples?: 0 | 1 | 2;
  isPlanar?: boolean;
  isDeflated?: boolean;
  isBigEndian?: boolean;
  /** Default: all of them. */
  rowsPerStrip?: number;
  orientation?: number;
  /** 1 unsigned (default), 2 signed, 3 float. */
  sampleFormat?: 1 | 2 | 3;
}

const [SHORT, LONG] = [3, 4];

/** @param values - (height, width, channels), of 8 or 16 bits. */
export function tiffOf(values: Uint8Array | Uint16Array, options: TiffOptions): Uint8Array<ArrayBuffer> {
  const { width, height, channels, photometric = 1, extraSamples = 0, sampleFormat = 1 } = options;
  const { isPlanar = false, isDeflated = false, isBigEndian = false, rowsPerStrip = height } = options;
  const bytes = values.BYTES_PER_ELEMENT;
  const strips: Uint8Array[] = [];
  for (let plane = 0; plane < (isPlanar ? channels : 1); plane++)
    for (let top = 0; top < height; top += rowsPerStrip) {
      const samples: number[] = [];
      for (let at = top * width; at < Math.min(height, top + rowsPerStrip) * width; at++)
        for (let c = isPlanar ? plane : 0; c < (isPlanar ? plane + 1 : channels); c++)
          samples.push(values[at * channels + c]!);
      const strip = new DataView(new ArrayBuffer(samples.length * bytes));
      samples.forEach((sample, i) => {
        if (bytes === 1) strip.setUint8(i, sample);
        else strip.setUint16(2 * i, sample, !isBigEndian);
      });
      const raw = new Uint8Array(strip.buffer);
      strips.push(isDeflated ? deflateSync(raw) : raw);
    }
  const own = photometric === 2 ? 3 : 1;
  const each = (value: number): number[] => Array.from({ length: channels }, () => value);
  let at = 8;
  const offsets = strips.map(({ length }) => (at += length + (length & 1)) - length - (length & 1));
  const tags: [tag: number, type: number, values: number[]][] = [
    [256, LONG, [width]],
    [257, LONG, [height]],
    [258, SHORT, each(8 * bytes)],
    [259, SHORT, [isDeflated ? 8 : 1]],
    [262, SHORT, [photometric]],
    [273, LONG, offsets],
    [274, SHORT, [options.orientation ?? 1]],
    [277, SHORT, [channels]],
    [278, LONG, [rowsPerStrip]],
    [279, LONG, strips.map(({ length }) => length)],
    [284, SHORT, [isPlanar ? 2 : 1]],
    ...(channels > own
      ? ([[338, SHORT, [extraSamples, ...each(0).slice(own + 1)]]] as [number, number, number[]][])
      : []),
    [339, SHORT, each(sampleFormat)],
  ];
  const directory = at;
  const after = directory + 2 + 12 * tags.length + 4;
  const apart = tags.map(([, type, list]) =>
    list.length * (type === SHORT ? 2 : 4) > 4 ? 4 * list.length : 0,
  );
  const file = new Uint8Array(after + apart.reduce((sum, size) => sum + size, 0));
  const view = new DataView(file.buffer);
  const little = !isBigEndian;
  file.set(isBigEndian ? [0x4d, 0x4d] : [0x49, 0x49]);
  view.setUint16(2, 42, little);
  view.setUint32(4, directory, little);
  strips.forEach((strip, i) => file.set(strip, offsets[i]));
  view.setUint16(directory, tags.length, little);
  let next = after;
  tags.forEach(([tag, type, list], i) => {
    const entry = directory + 2 + 12 * i;
    view.setUint16(entry, tag, little);
    view.setUint16(entry + 2, type, little);
    view.setUint32(entry + 4, list.length, little);
    let place = entry + 8;
    if (apart[i]! > 0) {
      view.setUint32(place, next, little);
      place = next;
      next += apart[i]!;
    }
    list.forEach((value, j) => {
      if (type === SHORT) view.setUint16(place + 2 * j, value, little);
      else view.setUint32(place + 4 * j, value, little);
    });
  });
  return file;
}
