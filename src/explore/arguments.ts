/** What public functions take as an index and its parts, for plain/check-options.ts. */
import { type Argument, being, callback, instanceOf, signal, yesOrNo } from '../plain/check-options.js';
import { ImageIndex, type NearestOptions } from './image-index.js';

const openIndex = instanceOf(ImageIndex, 'an open index, from ImageIndex.open()');

export const indexArgument = (value: unknown): Argument => ['index', openIndex, value];

/** The options of every function that looks for neighbours. */
export const nearestFields = { exact: yesOrNo, signal, onProgress: callback };

/** Those of them that were given. */
export const nearestOf = ({ exact, signal, onProgress }: NearestOptions): NearestOptions => ({
  ...(exact === undefined ? {} : { exact }),
  signal,
  onProgress,
});

/** Labels by row; that these rows exist is checked against the index. */
export const labelsByRow = being(
  'a Map of labels by row',
  (value) => value instanceof Map && [...value.values()].every((label) => typeof label === 'string'),
);
