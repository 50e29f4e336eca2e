/**
 * A part of a run's curves, for as many points as a chart has pixels: the lines themselves when they are few, otherwise the
 * least, mean and greatest value of each bucket, so that no spike is lost however far one is away.
 *
 * As bytes: uint32 length of the header, the header (JSON, padded to whole 8 bytes with spaces), then for `count` points
 * step and seconds as float64, then of each column mean, and with buckets least and greatest, as float32.
 */
import type { RunNow, SeriesHeader, SeriesQuery, SeriesTail } from '../plain/studio-api/index.js';
import { BLOCK, type LinePoint, type MetricsLog } from './metrics-log.js';

/** First index in sorted[0, length) whose value is greater than `value`. */
function upperBound(sorted: Float64Array, length: number, value: number): number {
  let [low, high] = [0, length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

interface Points {
  step: Float64Array;
  seconds: Float64Array;
  /** By column asked for: mean, and with buckets least and greatest. */
  columns: Float32Array[][];
}

/** @param detailsMark - Of the run's details. */
const nowOf = (log: MetricsLog, detailsMark: string): RunNow => ({
  lines: log.lines,
  bytes: log.position,
  size: log.size,
  generation: log.generation,
  last: log.last(),
  verdict: log.verdict(),
  seconds: log.elapsed,
  detailsMark,
});

/** What the last reading of a log has added. */
export function tailOf(log: MetricsLog, detailsMark: string): SeriesTail {
  const points = (log.fresh ?? []).map(({ step, seconds, values }) => ({
    step,
    seconds,
    values: log.named(values),
  }));
  return { now: nowOf(log, detailsMark), points };
}

/** @throws Error when the file changed while it was being read. */
export async function readSeries(
  log: MetricsLog,
  { axis, from, to, width, columns }: SeriesQuery,
  detailsMark: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const { blocks, lines } = log;
  const starts = axis === 'time' ? log.seconds.data : log.steps.data;
  // the block before the first one that begins inside, and all up to the first that begins beyond
  const first = from === undefined ? 0 : Math.max(0, upperBound(starts, blocks, from) - 1);
  const end = to === undefined ? blocks : Math.min(blocks, upperBound(starts, blocks, to) + 1);
  const count = Math.max(0, Math.min(lines, end * BLOCK) - first * BLOCK);
  const wanted = columns.filter((name) => log.names.includes(name));
  const places = wanted.map((name) => log.names.indexOf(name));
  let points: Points;
  let isExact = true;
  if (count === 0) points = emptyPoints(0, places.length, 1);
  else if (count <= width * BLOCK) {
    // fewer blocks than points: the lines themselves
    const near = await log.readBlocks(first, end);
    isExact = near.length <= 2 * width;
    points = isExact ? pointsOf(near, places) : bucketsOfLines(near, places, width);
  } else {
    isExact = false;
    points = bucketsOfBlocks(log, first, end, places, width);
  }
  const header: SeriesHeader = {
    count: points.step.length,
    columns: wanted,
    isExact,
    ...nowOf(log, detailsMark),
  };
  return encode(header, points);
}

function emptyPoints(count: number, columns: number, parts: number): Points {
  const floats = (): Float32Array => new Float32Array(count).fill(NaN);
  return {
    step: new Float64Array(count),
    seconds: new Float64Array(count),
    columns: Array.from({ length: columns }, () => Array.from({ length: parts }, floats)),
  };
}

function pointsOf(lines: readonly LinePoint[], places: readonly number[]): Points {
  const points = emptyPoints(lines.length, places.length, 1);
  lines.forEach(({ step, seconds, values }, i) => {
    points.step[i] = step;
    points.seconds[i] = seconds;
    places.forEach((place, column) => (points.columns[column]![0]![i] = values[place]!));
  });
  return points;
}

function bucketsOfLines(lines: readonly LinePoint[], places: readonly number[], width: number): Points {
  const points = emptyPoints(width, places.length, 3);
  for (let bucket = 0; bucket < width; bucket++) {
    const start = Math.floor((bucket * lines.length) / width);
    const end = Math.floor(((bucket + 1) * lines.length) / width);
    const middle = lines[(start + end) >> 1]!;
    points.step[bucket] = middle.step;
    points.seconds[bucket] = middle.seconds;
    places.forEach((place, column) => {
      const [mean, min, max] = points.columns[column] as [Float32Array, Float32Array, Float32Array];
      let [sum, number, low, high] = [0, 0, Infinity, -Infinity];
      for (let i = start; i < end; i++) {
        const value = lines[i]!.values[place]!;
        if (Number.isNaN(value)) continue;
        sum += value;
        number++;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
      if (number === 0) return;
      mean[bucket] = sum / number;
      min[bucket] = low;
      max[bucket] = high;
    });
  }
  return points;
}

function bucketsOfBlocks(
  log: MetricsLog,
  first: number,
  last: number,
  places: readonly number[],
  width: number,
): Points {
  const points = emptyPoints(width, places.length, 3);
  const bounds = Uint32Array.from(
    { length: width + 1 },
    (_, i) => first + Math.floor((i * (last - first)) / width),
  );
  for (let bucket = 0; bucket < width; bucket++) {
    const middle = (bounds[bucket]! + bounds[bucket + 1]!) >> 1;
    points.step[bucket] = log.steps.data[middle]!;
    points.seconds[bucket] = log.seconds.data[middle]!;
  }
  places.forEach((place, column) => {
    const { min, max, sum, count } = log.columns[place]!;
    const [means, lows, highs] = points.columns[column] as [Float32Array, Float32Array, Float32Array];
    for (let bucket = 0; bucket < width; bucket++) {
      let [total, number, low, high] = [0, 0, Infinity, -Infinity];
      for (let block = bounds[bucket]!; block < bounds[bucket + 1]!; block++) {
        const values = count.data[block];
        if (values === undefined || Number.isNaN(values)) continue;
        total += sum.data[block]!;
        number += values;
        if (min.data[block]! < low) low = min.data[block]!;
        if (max.data[block]! > high) high = max.data[block]!;
      }
      if (number === 0) continue;
      means[bucket] = total / number;
      lows[bucket] = low;
      highs[bucket] = high;
    }
  });
  return points;
}

function encode(header: SeriesHeader, { step, seconds, columns }: Points): Uint8Array<ArrayBuffer> {
  const words = Buffer.from(JSON.stringify(header));
  const start = Math.ceil((4 + words.length) / 8) * 8;
  const parts = [step, seconds, ...columns.flat()];
  const size = parts.reduce((sum, part) => sum + part.byteLength, start);
  const bytes = new Uint8Array(size);
  bytes.fill(0x20, 4, start);
  new DataView(bytes.buffer).setUint32(0, start - 4, true);
  bytes.set(words, 4);
  let at = start;
  for (const part of parts) {
    bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at);
    at += part.byteLength;
  }
  return bytes;
}
