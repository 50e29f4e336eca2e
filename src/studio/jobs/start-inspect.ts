/** What a folder of images holds: counts, sizes, formats, and files that can't be read. */
import { imageHeader, listImages, notesOf, readImageFile } from '../../data/index.js';
import { shardOf } from '../../data/read/shard-path.js';
import { readProblem } from '../../data/read/read-problem.js';
import { OUTSIDE } from '../../files/read-below.js';
import type { SkippedEntry } from '../../plain/studio-api/index.js';
import type { JobFunction } from './job.js';

/** Of more images than these only a sample is looked at: a header takes a millisecond from a warm disk. */
const CHECKED = 5000;
const LISTED = 100;
/** Headers read at once. */
const LANES = 8;

const spread = (values: number[]) => {
  const sorted = values.sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))] ?? 0;
  return { least: at(0), median: at(0.5), greatest: at(1) };
};

export const run: JobFunction<'start-inspect'> = async ({ images: source }, { signal, progress }) => {
  const list = await listImages(source);
  const { length } = list.items;
  const checked = Math.min(length, CHECKED);
  const wanted = new Set(Array.from({ length: checked }, (_, i) => Math.floor((i * length) / checked)));
  const sample: string[] = [];
  const counts = list.classes?.map(() => 0) ?? null;
  let at = 0;
  for (const { path, label } of list.items) {
    if (counts !== null && label !== null) counts[label]!++;
    if (wanted.has(at++)) sample.push(path);
  }
  const [widths, heights]: [number[], number[]] = [[], []];
  const broken: SkippedEntry[] = [];
  const formats: Record<string, number> = {};
  let [brokenCount, bytes, next, done] = [0, 0, 0, 0];
  const lane = async (): Promise<void> => {
    for (let path = sample[next++]; path !== undefined; path = sample[next++]) {
      signal.throwIfAborted();
      try {
        const header = await imageHeader(shardOf(path) === null ? path : await readImageFile(path));
        bytes += header.bytes;
        widths.push(header.width);
        heights.push(header.height);
        const format = header.format.toLowerCase();
        formats[format] = (formats[format] ?? 0) + 1;
      } catch (error) {
        brokenCount++;
        if (broken.length < LISTED) broken.push({ path, reason: readProblem(error).message });
      }
      progress({
        done: ++done,
        total: sample.length,
        message: `${done} of ${sample.length} images looked at`,
      });
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return {
    source,
    count: length,
    classes: list.classes?.map((name, i) => ({ name, count: counts?.[i] ?? 0 })) ?? null,
    checked,
    broken: { count: brokenCount, first: broken },
    outside: list.unreadable.filter(({ reason }) => reason === OUTSIDE).length,
    width: spread(widths),
    height: spread(heights),
    bytes: checked === 0 ? 0 : Math.round((bytes * length) / checked),
    formats,
    ...notesOf(list),
    unreadableFolders: list.unreadable.filter(({ reason }) => reason !== OUTSIDE),
  };
};
