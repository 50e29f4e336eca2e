/**
 * Lists the images of a tar shard in WebDataset's layout (webdataset/tariterators.py, group_by_keys): consecutive members
 * with the same key, which is the name up to the first dot of its last part, are a sample. `key.cls` has the number or name
 * of its class, or `label`, `cls` or `class` of `key.json`.
 *
 * Departures: every image counts, also several of one sample, because in a plain archive of photographs `IMG.001.jpg` and
 * `IMG.002.jpg` have one key. A label belongs to the images whose names begin with its own, up to a dot, the longest first
 * (`IMG.001.cls` before `IMG.cls`). One that stands beside no image of its own is looked for by its name in the whole shard.
 * A key that comes again later is another sample. Archives that follow one another, and archives within the archive, are
 * read; the latter as folders of their names. Of images with one name, each but the first gets a name of its own. Without any label the first folder in the names is the class, as it is for a
 * folder of images.
 */
import path from 'node:path';
import { hasImageExtension } from '../image-extensions.js';
import { LeftOutCounter } from '../left-out.js';
import { LabelCollector, type RawLabel } from './label-collector.js';
import { MAX_LABEL, ProblemList, type ScannedShard, type ShardNote, WindowedFile } from './scanned-shard.js';
import {
  badName,
  BLOCK_SIZE,
  MAX_NAME,
  MAX_SMALL_FILE,
  plainName,
  tarMembers,
  type TarMember,
} from './tar.js';

/** The field in a `.json` written by `dino shard` that has the image's own name, where the key could not be made of it. */
export const NAME_FIELD = 'dino:name';

/** Archives within archives are read down to this depth. */
const MAX_DEPTH = 3;
/** Most dots of a name at which a label's name may end. */
const MAX_DOTS = 16;

/** WebDataset's base_plus_ext: the key, and the extension in lower case without its dot. null for a name that lacks one. */
export function splitKey(name: string): { key: string; extension: string } | null {
  const slash = name.lastIndexOf('/');
  const dot = name.indexOf('.', slash + 1);
  if (dot === -1 || dot === slash + 1) return null;
  return { key: name.slice(0, dot), extension: name.slice(dot + 1).toLowerCase() };
}

/**
 * Whether a member, or a folder that it lies in, is hidden, as in a folder of images: macOS has a ._x.jpg beside each x.jpg,
 * file managers a .thumbs beside the pictures, whose images and labels are none of the set's.
 */
const isHidden = (name: string): boolean =>
  name.split('/').some((part) => part.startsWith('.') && part !== '.');

/** The names that a label of an image may have, without its ending: the image's own, cut at each of its dots, longest first. */
function labelNames(name: string, key: string): string[] {
  const names = [name];
  for (let dot = name.lastIndexOf('.'); dot > key.length && names.length < MAX_DOTS;) {
    names.push(name.slice(0, dot));
    dot = name.lastIndexOf('.', dot - 1);
  }
  return [...names, key];
}

/** A label file, without its ending. */
interface LabelFile {
  kind: 'cls' | 'json';
  archive: number;
  /** null when it says nothing of the class. */
  label: RawLabel;
  /** The image's own name, written by `dino shard`. */
  name: string | null;
  isUsed: boolean;
}

/** A class as a shard tells it: a number, the text of one, or a text. */
function asLabel(value: unknown): RawLabel {
  if (typeof value === 'number') {
    return Number.isInteger(value) && value >= 0 && value <= MAX_LABEL ? value : null;
  }
  if (typeof value !== 'string') return null;
  const text = value.trim();
  if (/^\d{1,8}$/.test(text)) return asLabel(Number(text));
  return text === '' || text.length > 1000 || text.startsWith('-') ? null : text;
}

type LabelFiles = Map<string, LabelFile[]>;

/** Distinct labels by kind of file, the first two: two already contradict one another. */
type Labels = Record<LabelFile['kind'], Set<NonNullable<RawLabel>>>;

const noLabels = (): Labels => ({ cls: new Set(), json: new Set() });

/** All label files of one name that stand beside no image of theirs. */
class LabelsApart {
  readonly #near = new Map<number, Labels>();
  readonly #all = noLabels();
  readonly counts = { cls: 0, json: 0 };
  isUsed = false;

  add({ kind, label, archive }: LabelFile): void {
    this.counts[kind]++;
    if (label === null) return;
    const near = this.#near.get(archive) ?? noLabels();
    this.#near.set(archive, near);
    for (const labels of [near[kind], this.#all[kind]]) if (labels.size < 2) labels.add(label);
  }

  /** What they say in an archive, or else in all: a .cls comes before a .json. */
  in(archive: number): ReadonlySet<NonNullable<RawLabel>> {
    this.isUsed = true;
    const { cls, json } = this.#near.get(archive) ?? this.#all;
    return cls.size > 0 ? cls : json;
  }
}

class TarScan {
  readonly problems = new ProblemList();
  readonly #collector: LabelCollector;
  readonly #leftOut = new LeftOutCounter();
  readonly #notes = new Map<ShardNote['kind'], ShardNote>();
  /** Label files that stand beside no image of theirs. */
  readonly #apart = new Map<string, LabelsApart>();
  /** The first image of each archive. */
  readonly #archives: number[] = [0];
  /** All names, and the last number of each: a stranger's archive may have a million members of one name. */
  readonly #names = new Map<string, number>();
  /** Names in the shard of images that have another one here. */
  readonly #renamed = new Map<number, string>();
  #images = 0;
  // the sample that is being read
  #key = '';
  #members = new Set<string>();
  #sample: TarMember[] = [];
  #labels: LabelFiles = new Map();

  constructor(private readonly source: WindowedFile) {
    this.#collector = new LabelCollector(source);
  }

  /** Reads an archive, or what of the file is one. */
  async read(range?: { start: number; end: number }, folder = '', depth = 0): Promise<void> {
    const report = ({ offset, reason }: { offset: number; reason: string }) =>
      this.problems.add({ offset, reason: folder === '' ? reason : `${folder}.tar: ${reason}` });
    let archive = 0;
    for await (const member of tarMembers(this.source, report, range)) {
      if (member.archive !== archive) this.#nextArchive();
      archive = member.archive;
      const name = folder === '' ? member.name : `${folder}/${member.name}`;
      await this.#member({ ...member, name }, depth);
    }
    this.#nextArchive();
  }

  #nextArchive(): void {
    this.#finishSample();
    this.#archives.push(this.#images);
  }

  async #member(member: TarMember, depth: number): Promise<void> {
    const { name } = member;
    if (depth > 0 && Buffer.byteLength(name) > MAX_NAME) {
      const reason = `${name.slice(0, 200)}: has a name of more than 16 KiB: skipped`;
      return this.problems.add({ offset: member.offset - BLOCK_SIZE, reason });
    }
    if (isHidden(name)) return;
    const parts = splitKey(name);
    if (parts === null) return this.#leftOut.add(name);
    const ending = parts.extension.slice(parts.extension.lastIndexOf('.') + 1);
    if (ending === 'tar') return this.#archive(member, depth);
    if (parts.key !== this.#key || this.#members.has(name)) this.#finishSample();
    this.#key = parts.key;
    this.#members.add(name);
    if (hasImageExtension(name)) this.#sample.push(member);
    else if (ending === 'cls' || ending === 'json') {
      const label = await this.#readLabel(member, ending);
      const stem = name.slice(0, -ending.length - 1);
      if (label !== null) this.#labels.set(stem, [...(this.#labels.get(stem) ?? []), label]);
    } else this.#leftOut.add(name);
  }

  async #archive({ name, offset, size }: TarMember, depth: number): Promise<void> {
    if (depth >= MAX_DEPTH) {
      const reason = `${name}: is an archive within ${depth} others, which is not read`;
      return this.problems.add({ offset: offset - BLOCK_SIZE, reason });
    }
    this.#nextArchive();
    this.#note('archive', name);
    await this.read({ start: offset, end: offset + size }, name.slice(0, -'.tar'.length), depth + 1);
  }

  /** @returns null for a file that can't be read; it is noted */
  async #readLabel(member: TarMember, kind: LabelFile['kind']): Promise<LabelFile | null> {
    const file: LabelFile = { kind, archive: this.#archives.length, label: null, name: null, isUsed: false };
    const problem = (reason: string): null => {
      this.#note('label', `${member.name}: ${reason}`);
      return null;
    };
    if (member.size > MAX_SMALL_FILE)
      return problem(`a label of ${member.size} bytes, more than the limit of ${MAX_SMALL_FILE}`);
    const text = (await this.source.read(member.offset, member.size)).toString('utf8');
    if (kind === 'cls') {
      file.label = asLabel(text);
      return file.label === null ? problem('is not a class number or name') : file;
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      return problem('is not JSON');
    }
    const fields = Object(value) as Record<string, unknown>;
    file.label = asLabel(fields['label'] ?? fields['cls'] ?? fields['class']);
    const name = fields[NAME_FIELD];
    if (typeof name === 'string' && badName(name) === null && name.length < 4096) file.name = plainName(name);
    return file;
  }

  #note(kind: ShardNote['kind'], example: string): void {
    const note = this.#notes.get(kind) ?? { kind, count: 0, example: example.slice(0, 1000) };
    note.count++;
    this.#notes.set(kind, note);
  }

  #finishSample(): void {
    const images = this.#sample;
    const isPlain = ({ name }: TarMember) => !name.slice(this.#key.length + 1).includes('.');
    const hasPlain = images.length > 1 && images.some(isPlain);
    for (const image of images) {
      if (hasPlain && !isPlain(image)) this.#note('sample', image.name);
      const place = { kind: 'tar', offset: image.offset, length: image.size } as const;
      let label: RawLabel = null;
      let own: string | null = null;
      for (const name of labelNames(image.name, this.#key)) {
        const files = this.#labels.get(name) ?? [];
        for (const file of files) file.isUsed = true;
        label ??= labelIn(files);
        own ??= files.find((file) => file.name !== null)?.name ?? null;
      }
      const name = this.#nameOf(images.length === 1 ? (own ?? image.name) : image.name);
      this.#collector.add(name, label, place);
      this.#images++;
    }
    for (const [name, files] of this.#labels) {
      for (const file of files) {
        if (file.isUsed) continue;
        const apart = this.#apart.get(name) ?? new LabelsApart();
        this.#apart.set(name, apart);
        apart.add(file);
      }
    }
    this.#sample = [];
    this.#labels = new Map();
    this.#members = new Set();
    this.#key = '';
  }

  /** The name of the next image: no other one of the shard has it, so that it stands for this image alone. */
  #nameOf(name: string): string {
    let free = name;
    let n = this.#names.get(name) ?? 0;
    while (this.#names.has(free)) free = numberedName(name, ++n);
    this.#names.set(free, 1);
    if (free === name) return name;
    this.#names.set(name, n);
    this.#renamed.set(this.#images, name);
    this.#note('name', `${name}, as ${free}`);
    return free;
  }

  /** Gives images without a label those that stand elsewhere in the shard: in the same archive, or else in another. */
  #matchApart(): void {
    if (this.#apart.size === 0) return;
    let archive = 0;
    for (const { index, name, label } of this.#collector.entries()) {
      while (archive < this.#archives.length && this.#archives[archive]! <= index) archive++;
      const own = this.#renamed.get(index) ?? name;
      const parts = splitKey(own);
      if (label !== null || parts === null) continue;
      for (const stem of labelNames(own, parts.key)) {
        const labels = this.#apart.get(stem)?.in(archive);
        if (labels === undefined || labels.size === 0) continue;
        if (labels.size === 1) this.#collector.setLabel(index, [...labels][0]!);
        else this.#note('contradiction', name);
        break;
      }
    }
  }

  finish(): ScannedShard {
    this.#matchApart();
    for (const { isUsed, counts } of this.#apart.values())
      for (const kind of ['cls', 'json'] as const)
        if (!isUsed && counts[kind] > 0) this.#leftOut.addKind(`.${kind}`, counts[kind]);
    return {
      ...this.#collector.finish(),
      problems: this.problems.list,
      leftOut: Object.entries(this.#leftOut.finish().byExtension),
      notes: [...this.#notes.values()],
      renamed: [...this.#renamed],
    };
  }
}

/** `a/0~2.jpg` of `a/0.jpg`. */
function numberedName(name: string, number: number): string {
  const { dir, name: stem, ext } = path.posix.parse(name);
  return `${dir === '' ? '' : `${dir}/`}${stem}~${number}${ext}`;
}

/** What the label files of one name say: a .cls comes before a .json. */
function labelIn(files: readonly LabelFile[]): RawLabel {
  const of = (kind: LabelFile['kind']) => files.find((file) => file.kind === kind && file.label !== null);
  return (of('cls') ?? of('json'))?.label ?? null;
}

/** Lists the images of a tar shard. @throws Error of the file system when it can't be opened or read */
export async function scanTar(file: string): Promise<ScannedShard> {
  const source = WindowedFile.open(file);
  try {
    const scan = new TarScan(source);
    await scan.read();
    return scan.finish();
  } finally {
    source.close();
  }
}
