/**
 * Lists the samples of a tar shard in WebDataset's layout (webdataset/tariterators.py, group_by_keys): consecutive members
 * with the same key, which is the name up to the first dot of its last part. Of a sample, the image and the label are used:
 * `key.cls` with a class number or name, or `label`, `cls` or `class` of `key.json`.
 *
 * Departures: of several images in a sample, the first with the shortest extension is used (`jpg` before `seg.png`); a key
 * that comes again later is another sample. Without any label the first folder in the names is the class, as it is for a
 * folder of images.
 */
import { hasImageExtension } from '../image-extensions.js';
import { LabelCollector, type RawLabel } from './label-collector.js';
import { MAX_LABEL, ProblemList, type ScannedShard, WindowedFile } from './scanned-shard.js';
import { badName, BLOCK_SIZE, MAX_SMALL_FILE, tarMembers, type TarMember } from './tar.js';

/** The field in a `.json` written by `dino shard` that has the image's own name, where the key could not be made of it. */
export const NAME_FIELD = 'dino:name';

/** WebDataset's base_plus_ext: the key, and the extension in lower case without its dot. null for a name that lacks one. */
export function splitKey(name: string): { key: string; extension: string } | null {
  const slash = name.lastIndexOf('/');
  const dot = name.indexOf('.', slash + 1);
  if (dot === -1 || dot === slash + 1) return null;
  return { key: name.slice(0, dot), extension: name.slice(dot + 1).toLowerCase() };
}

interface Sample {
  key: string;
  image: (TarMember & { extension: string }) | null;
  label: RawLabel;
  /** The image's name according to a .json. */
  name: string | null;
}

/** A label as it is written: a whole number, or a text. */
function asLabel(value: unknown): RawLabel {
  if (typeof value === 'number') {
    return Number.isInteger(value) && value >= 0 && value <= MAX_LABEL ? value : null;
  }
  if (typeof value !== 'string') return null;
  const text = value.trim();
  if (/^\d{1,8}$/.test(text)) return asLabel(Number(text));
  return text === '' || text.length > 1000 || text.startsWith('-') ? null : text;
}

/** Reads a label file into its sample. @returns what is wrong with the file, or null */
async function readLabel(sample: Sample, extension: string, source: WindowedFile, member: TarMember) {
  if (member.size > MAX_SMALL_FILE)
    return `${member.name}: a label of ${member.size} bytes, more than the limit of ${MAX_SMALL_FILE}`;
  const text = (await source.read(member.offset, member.size)).toString('utf8');
  if (extension === 'cls') {
    sample.label = asLabel(text) ?? sample.label;
    return sample.label === null ? `${member.name}: is not a class number or name` : null;
  }
  try {
    const value = JSON.parse(text) as unknown;
    if (typeof value !== 'object' || value === null) return null;
    const fields = value as Record<string, unknown>;
    sample.label ??= asLabel(fields['label'] ?? fields['cls'] ?? fields['class']);
    const name = fields[NAME_FIELD];
    if (typeof name === 'string' && badName(name) === null && name.length < 4096) sample.name = name;
    return null;
  } catch {
    return `${member.name}: is not JSON`;
  }
}

/** Lists the images of a tar shard. @throws Error of the file system when it can't be opened or read */
export async function scanTar(file: string): Promise<ScannedShard> {
  const source = WindowedFile.open(file);
  try {
    const problems = new ProblemList();
    const collector = new LabelCollector(source);
    let sample: Sample = { key: '', image: null, label: null, name: null };
    const finishSample = () => {
      const { image, label, name } = sample;
      if (image === null) return;
      collector.add(name ?? image.name, label, { kind: 'tar', offset: image.offset, length: image.size });
    };
    for await (const member of tarMembers(source, (problem) => problems.add(problem))) {
      const parts = splitKey(member.name);
      if (parts === null) continue;
      const { key, extension } = parts;
      if (key !== sample.key) {
        finishSample();
        sample = { key, image: null, label: null, name: null };
      }
      if (hasImageExtension(`image.${extension}`)) {
        if (sample.image === null || extension.length < sample.image.extension.length) {
          sample.image = { ...member, extension };
        }
      } else if (extension === 'cls' || extension === 'json') {
        const reason = await readLabel(sample, extension, source, member);
        if (reason !== null) problems.add({ offset: member.offset - BLOCK_SIZE, reason });
      }
    }
    finishSample();
    return { ...collector.finish(), problems: problems.list };
  } finally {
    source.close();
  }
}
