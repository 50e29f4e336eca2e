/** What a view shows of an index: which images, in which order, in which groups, with what said about each. */
import type { FindAnswer, FindQuestion, FoundImage } from '../api.ts';
import { counted } from '../ui/format.ts';
import { TOP } from './ask.ts';
import type { Marks } from './marks.ts';
import type { Place } from './place.ts';
import type { IndexLabels } from './use-labels.ts';

/** The images of an index. */
export interface Images {
  count: number;
  nameOf: (row: number) => string;
  /** Absolute. */
  pathOf: (row: number) => string;
}

export const imagesOf = (root: string, names: readonly string[]): Images => ({
  count: names.length,
  nameOf: (row) => names[row] ?? '',
  pathOf: (row) => `${root}/${names[row] ?? ''}`,
});

export interface Group {
  /** Its place among all groups. */
  place: number;
  rows: readonly number[];
  /** The first of them, or the most typical ones. */
  images: readonly FoundImage[];
}

export interface Shown {
  rows: readonly number[];
  /** Where the images come in groups; `rows` are those of all groups. */
  groups: readonly Group[] | null;
  /** What is said about an image, in a few letters, and in a sentence. */
  notes: ReadonlyMap<number, readonly [short: string, long: string]>;
}

/** What the index is asked for a view; null: nothing, or not yet. */
export function questionOf(place: Place): FindQuestion | null {
  const { view, like, unlike, upload, part, clusters, threshold, first, by } = place;
  switch (view) {
    case 'search':
      if (upload === null && like.length === 0) return null;
      return {
        ...{ kind: 'search', plus: [...like], minus: [...unlike], top: TOP },
        ...(upload === null ? {} : { upload }),
        ...(part === null ? {} : { region: [...part] }),
      };
    case 'clusters':
      return { kind: 'clusters', ...(clusters === null ? {} : { clusters }) };
    case 'duplicates':
      return { kind: 'duplicates', ...(threshold === null ? {} : { threshold }) };
    case 'outliers':
      return { kind: 'outliers' };
    case 'subset':
      return { kind: 'select', size: first, by };
    case 'all':
    case 'labels':
      return null;
  }
}

/** 0.9987 becomes "99.9 %". */
const percentOf = (share: number): string =>
  share >= 1 ? '100 %' : `${(100 * share).toFixed(share > 0.99 ? 2 : share > 0.9 ? 1 : 0)} %`;

/** A similarity as the share of pairs that are less alike: cosines of two models can't be compared. */
function similarityNote({ score, share }: FoundImage): readonly [string, string] | null {
  if (score === null || share === null) return null;
  const cosine = `cosine ${score.toFixed(3)}`;
  if (score > 0.9999) return ['same', `the same to this model (${cosine})`];
  return [percentOf(share), `more alike than ${percentOf(share)} of pairs of these images (${cosine})`];
}

/** From this many robust standard deviations on an image counts as an outlier. */
export const FAR = 3.5;

const outlierNote = (score: number): readonly [string, string] => [
  `${score > 0 ? '+' : ''}${score.toFixed(1)}`,
  `${Math.abs(score).toFixed(1)} standard deviations ${score < 0 ? 'closer to' : 'farther from'} the others than usual` +
    (score > FAR ? ': an outlier' : ''),
];

const EMPTY: Shown = { rows: [], groups: null, notes: new Map() };

function shownOfAnswer(answer: FindAnswer, place: Place): Shown {
  if (answer.kind === 'images') {
    const notes = new Map<number, readonly [string, string]>();
    for (const image of answer.images) {
      const note = similarityNote(image);
      if (note !== null) notes.set(image.row, note);
    }
    return { rows: answer.images.map(({ row }) => row), groups: null, notes };
  }
  if (answer.kind === 'groups') {
    const groups = answer.groups.map((group, i) => ({ ...group, place: i }));
    const only = place.group === null ? undefined : groups[place.group];
    if (only !== undefined) return { ...EMPTY, rows: only.rows };
    return { rows: groups.flatMap(({ rows }) => rows), groups, notes: new Map() };
  }
  if (answer.kind === 'scores') {
    const { scores } = answer;
    const rows = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b);
    return { rows, groups: null, notes: new Map(scores.map((score, row) => [row, outlierNote(score)])) };
  }
  return EMPTY;
}

/** Without an answer, what needs none. */
export function shownOf(
  place: Place,
  images: Images,
  labels: Pick<IndexLabels, 'groups' | 'labelOf'>,
  answer: FindAnswer | null,
): Shown {
  const all = (): number[] => Array.from({ length: images.count }, (_, row) => row);
  if (place.view === 'all') return { ...EMPTY, rows: all() };
  if (place.view === 'labels') {
    const { label } = place;
    const rows =
      label === ''
        ? all().filter((row) => !labels.labelOf.has(row))
        : labels.groups
            .filter((group) => label === null || group.label === label)
            .flatMap(({ rows }) => rows);
    return { ...EMPTY, rows };
  }
  return answer === null ? EMPTY : shownOfAnswer(answer, place);
}

/** The part of it that a lasso holds and whose names contain a text. */
export function filtered(shown: Shown, { name }: Place, { lasso }: Marks, images: Images): Shown {
  if (name === '' && lasso === null) return shown;
  const wanted = name.toLowerCase();
  const isIn = (row: number): boolean =>
    (lasso === null || lasso.has(row)) &&
    (wanted === '' || images.nameOf(row).toLowerCase().includes(wanted));
  const groups = shown.groups
    ?.map((group) => ({
      ...group,
      rows: group.rows.filter(isIn),
      images: group.images.filter(({ row }) => isIn(row)),
    }))
    .filter(({ rows }) => rows.length > 0);
  return { ...shown, rows: shown.rows.filter(isIn), groups: groups ?? null };
}

/** "cats/": the folder that an image is in; '' for the top one. */
export const folderOf = (name: string): string => name.slice(0, name.lastIndexOf('/') + 1);

export const describe = ({ rows, groups }: Shown): string =>
  groups === null
    ? counted(rows.length, 'image')
    : `${counted(groups.length, 'group')}, ${counted(rows.length, 'image')}`;
