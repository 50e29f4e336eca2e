/** What the colours of a map's points mean: groups, or a scale. */
import type { FindAnswer } from '../api.ts';
import { FAR, folderOf, type Images } from './shown.ts';
import type { Colour } from './place.ts';
import type { IndexLabels } from './use-labels.ts';

/** Groups with colours of their own: more can't be told apart. */
const MOST = 8;

export interface Coloured {
  name: string;
  /** A colour of styles.css. */
  color: string;
  rows: readonly number[];
}

export type Colouring =
  | { kind: 'groups'; groups: readonly Coloured[] }
  /** `values`: for every row, 0 to 1. */
  | { kind: 'scale'; values: Float32Array; low: string; high: string }
  | null;

function ofGroups(groups: readonly { name: string; rows: readonly number[] }[], others: string): Colouring {
  const ordered = [...groups].sort((a, b) => b.rows.length - a.rows.length);
  const rest = ordered.slice(MOST);
  return {
    kind: 'groups',
    groups: [
      ...ordered.slice(0, MOST).map(({ name, rows }, i) => ({ name, rows, color: `hue-${i}` })),
      ...(rest.length > 0
        ? [{ name: `${rest.length} ${others}`, rows: rest.flatMap(({ rows }) => rows), color: 'hue-rest' }]
        : []),
    ],
  };
}

function byFolder(images: Images): Colouring {
  const folders = new Map<string, number[]>();
  for (let row = 0; row < images.count; row++) {
    const folder = folderOf(images.nameOf(row));
    const rows = folders.get(folder);
    if (rows === undefined) folders.set(folder, [row]);
    else rows.push(row);
  }
  const groups = [...folders].map(([name, rows]) => ({ name: name === '' ? 'the top folder' : name, rows }));
  return ofGroups(groups, 'other folders');
}

/** What is coloured unless something else was chosen: labels if there are any, else folders if there are several. */
export function usualColour(images: Images, labels: Pick<IndexLabels, 'groups'>): Colour {
  if (labels.groups.length > 0) return 'label';
  const first = folderOf(images.nameOf(0));
  for (let row = 1; row < images.count; row++) if (folderOf(images.nameOf(row)) !== first) return 'folder';
  return 'none';
}

/** @param answer - To the question about clusters or outliers, where these are wanted. */
export function colouringOf(
  colour: Colour,
  images: Images,
  labels: Pick<IndexLabels, 'groups'>,
  answer: FindAnswer | null,
): Colouring {
  if (colour === 'label')
    return labels.groups.length === 0
      ? null
      : ofGroups(
          labels.groups.map(({ label, rows }) => ({ name: label, rows })),
          'other labels',
        );
  if (colour === 'folder') return byFolder(images);
  if (colour === 'cluster' && answer?.kind === 'groups')
    return ofGroups(
      answer.groups.map(({ rows }, i) => ({ name: `Cluster ${i + 1}`, rows })),
      'other clusters',
    );
  if (colour === 'outlier' && answer?.kind === 'scores')
    return {
      ...{ kind: 'scale', low: 'usual', high: 'an outlier' },
      values: Float32Array.from(answer.scores, (score) => Math.min(1, Math.max(0, score / FAR))),
    };
  return null;
}
