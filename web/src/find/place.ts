/** What Find shows, as its address says it: Back, Forward, reload and a copied link bring back the same. */
import { href, navigate, route } from '../router.ts';

/** x, y, width, height as shares of the image's sides. */
export type Region = readonly [x: number, y: number, width: number, height: number];

export const VIEWS = {
  all: 'All images',
  search: 'Search',
  clusters: 'Clusters',
  duplicates: 'Duplicates',
  outliers: 'Outliers',
  subset: 'Label first',
  labels: 'Labels',
} as const;
export type View = keyof typeof VIEWS;

export const COLOURS = {
  label: 'Label',
  folder: 'Folder',
  cluster: 'Cluster',
  outlier: 'Outlier score',
  none: 'Nothing',
} as const;
export type Colour = keyof typeof COLOURS;

/** The names in the address. */
type Name =
  | 'index'
  | 'new'
  | 'images'
  | 'view'
  | 'image'
  | 'like'
  | 'unlike'
  | 'upload'
  | 'part'
  | 'clusters'
  | 'group'
  | 'threshold'
  | 'first'
  | 'by'
  | 'label'
  | 'name'
  | 'colour'
  | 'map'
  | 'side';

export interface Place {
  view: View;
  /** The row of the image that is shown large. */
  image: number | null;
  /** What is searched for: rows, or an image that was uploaded, or a part of one of them. */
  like: readonly number[];
  unlike: readonly number[];
  upload: string | null;
  part: Region | null;
  /** null: chosen automatically. */
  clusters: number | null;
  threshold: number | null;
  /** Of the clusters or duplicates, the one that is shown alone. */
  group: number | null;
  /** How many images to label first, and how they are chosen. */
  first: number;
  by: 'both' | 'diverse' | 'typical';
  /** Images with this label; '' for those without one; null for all that have one. */
  label: string | null;
  /** Images whose name contains this. */
  name: string;
  /** null: chosen automatically. */
  colour: Colour | null;
  hasMap: boolean;
  /** Of the pictures in the grid, CSS pixels. */
  side: number;
}

export const SIDES = { least: 64, usual: 132, most: 320 };

const numbersOf = (text: string | null): number[] =>
  (text ?? '')
    .split(',')
    .filter((part) => part !== '')
    .map(Number);
const rowsOf = (text: string | null): number[] =>
  numbersOf(text).filter((row) => Number.isInteger(row) && row >= 0);
/** A number of the address; null when there is none that can be used. */
function numberIn(text: string | null, least: number, most: number): number | null {
  const value = text === null || text === '' ? NaN : Number(text);
  return value >= least && value <= most ? value : null;
}
const oneOf = <T extends string>(values: Readonly<Record<T, unknown>>, text: string | null): T | null =>
  text !== null && Object.hasOwn(values, text) ? (text as T) : null;

export function placeOf(query: URLSearchParams): Place {
  const part = numbersOf(query.get('part'));
  const isPart = part.length === 4 && part.every((value) => value >= 0 && value <= 1);
  return {
    view: oneOf(VIEWS, query.get('view')) ?? 'all',
    image: rowsOf(query.get('image'))[0] ?? null,
    like: rowsOf(query.get('like')),
    unlike: rowsOf(query.get('unlike')),
    upload: query.get('upload'),
    part: isPart ? (part as unknown as Region) : null,
    clusters: numberIn(query.get('clusters'), 1, 1000),
    threshold: numberIn(query.get('threshold'), 1e-6, 1),
    group: rowsOf(query.get('group'))[0] ?? null,
    first: numberIn(query.get('first'), 1, 1000) ?? 20,
    by: oneOf({ both: 0, diverse: 0, typical: 0 }, query.get('by')) ?? 'both',
    label: query.get('label'),
    name: query.get('name') ?? '',
    colour: oneOf(COLOURS, query.get('colour')),
    hasMap: query.get('map') !== 'off',
    side: numberIn(query.get('side'), SIDES.least, SIDES.most) ?? SIDES.usual,
  };
}

type Change = { readonly [K in Name]?: string | number | readonly number[] | null };

/** The address after a change; null takes a name out of it. */
export function placeAfter(change: Change): string {
  const query = new URLSearchParams(route.value.query);
  for (const [name, value] of Object.entries(change)) {
    const text = value === null ? '' : String(value);
    // '' is a label: that of images without one
    if (value === null || (text === '' && name !== 'label')) query.delete(name);
    else query.set(name, text);
  }
  const search = query.toString();
  return href('find') + (search === '' ? '' : `?${search}`);
}

/** Goes to another view, which Back leaves again; `replace` for what changes while a slider is dragged. */
export const go = (change: Change, options: { replace?: boolean } = {}): void =>
  navigate(placeAfter(change), options);

/** Takes out of the address what names rows, and groups of them: in another generation of the index, those are other images. */
export const dropRows = ({ upload }: Place): void =>
  go(
    { image: null, group: null, like: null, unlike: null, ...(upload === null ? { part: null } : {}) },
    { replace: true },
  );

/** No query: for a search by something else. */
const NO_QUERY = { like: null, unlike: null, upload: null, part: null } as const;

/** Searches, and shows what is found. */
export const search = (query: Partial<Pick<Change, 'like' | 'unlike' | 'upload' | 'part'>>): void =>
  go({ ...NO_QUERY, image: null, group: null, view: 'search', ...query });

/** An address of Find with nothing of the current one. */
export const freshPlace = (query: Readonly<Record<string, string>> = {}): string => {
  const search = new URLSearchParams(query).toString();
  return href('find') + (search === '' ? '' : `?${search}`);
};
