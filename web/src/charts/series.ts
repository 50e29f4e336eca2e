/** A part of one run's curves as it came from the server: see src/studio/series.ts for the bytes. */
import {
  request,
  type RunSummary,
  type SeriesHeader,
  type SeriesQuery,
  type SeriesTail,
  valueOf,
} from '../api.ts';

export interface ColumnSeries {
  /** The value of each line, or the mean of each bucket; NaN where there is none. */
  mean: Float32Array;
  /** Least and greatest of each bucket; null when every line is a point. */
  min: Float32Array | null;
  max: Float32Array | null;
}

export interface RunSeries {
  header: SeriesHeader;
  step: Float64Array;
  /** Seconds of training up to each point. */
  seconds: Float64Array;
  columns: ReadonlyMap<string, ColumnSeries>;
}

function decodeSeries(bytes: Uint8Array<ArrayBuffer>): RunSeries {
  const { buffer } = bytes;
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length))) as SeriesHeader;
  const { count } = header;
  let at = 4 + length;
  const doubles = (): Float64Array => {
    const part = new Float64Array(buffer, at, count);
    at += part.byteLength;
    return part;
  };
  const floats = (): Float32Array => {
    const part = new Float32Array(buffer, at, count);
    at += part.byteLength;
    return part;
  };
  const [step, seconds] = [doubles(), doubles()];
  const columns = new Map<string, ColumnSeries>();
  for (const name of header.columns) {
    const mean = floats();
    const [min, max] = header.isExact ? [null, null] : [floats(), floats()];
    columns.set(name, { mean, min, max });
  }
  return { header, step, seconds, columns };
}

/** A series of whole lines with those that follow it. */
export function appended(series: RunSeries, { now, points }: SeriesTail): RunSeries {
  const { length } = series.step;
  const grow = <T extends Float32Array | Float64Array>(
    longer: T,
    values: T,
    value: (point: SeriesTail['points'][number]) => number,
  ): T => {
    longer.set(values);
    points.forEach((point, i) => (longer[length + i] = value(point)));
    return longer;
  };
  const count = length + points.length;
  return {
    header: { ...series.header, ...now, count },
    step: grow(new Float64Array(count), series.step, ({ step }) => step),
    seconds: grow(new Float64Array(count), series.seconds, ({ seconds }) => seconds),
    columns: new Map(
      [...series.columns].map(([name, { mean }]) => {
        const longer = grow(new Float32Array(count), mean, ({ values }) => valueOf(values, name) ?? NaN);
        return [name, { mean: longer, min: null, max: null }];
      }),
    ),
  };
}

export async function fetchSeries(run: string, query: SeriesQuery, signal: AbortSignal): Promise<RunSeries> {
  const given = { ...query, columns: query.columns.join(',') };
  return decodeSeries(await request('GET /api/runs/:run/series', { params: { run }, query: given }, signal));
}

/** What the x axis counts. */
export type Axis = 'step' | 'epoch' | 'time';

/** x of every point of a run. */
export function positions(series: RunSeries, axis: Axis, run: RunSummary): Float64Array {
  if (axis === 'time') return series.seconds;
  if (axis === 'step') return series.step;
  const { stepsPerEpoch } = run;
  return series.step.map((step) => step / (stepsPerEpoch ?? 1));
}

/** Numbers of the x axis in the server's units: steps or seconds. */
export const toServer = (x: number, axis: Axis, run: RunSummary): number =>
  axis === 'epoch' ? x * (run.stepsPerEpoch ?? 1) : x;

/** Exponential moving average, without bias towards zero at its beginning; 0 changes nothing, 0.99 is smoothest. */
export function smooth(values: Float32Array, weight: number): Float32Array {
  if (weight === 0) return values;
  const result = new Float32Array(values.length);
  let [sum, share] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Number.isNaN(value)) {
      result[i] = NaN;
      continue;
    }
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + (1 - weight);
    result[i] = sum / share;
  }
  return result;
}
