/** The labels that an index keeps. */
import { useState } from 'preact/hooks';
import type { FindAnswer } from '../api.ts';
import { useAnswer } from '../use-answer.ts';
import { useRequest } from '../use-request.ts';
import { askIndex, ofKind } from './ask.ts';

export interface LabelChange {
  rows: readonly number[];
  /** null removes their labels. */
  label: string | null;
}

const read = ofKind('labels');
/** One shared object: what depends on the labels is not computed again while there are none. */
const NONE = { groups: [], damaged: 0 };

export function useLabels(index: string) {
  const [newest, setNewest] = useState<Extract<FindAnswer, { kind: 'labels' }> | null>(null);
  const stored = useRequest('POST /api/find/ask', { body: { index, ask: { kind: 'labels' } } }, { read });
  const { ask: change, error } = useAnswer(async (changes: readonly LabelChange[]) => {
    for (const { rows, label } of changes)
      setNewest(read(await askIndex(index, { kind: 'label', rows: [...rows], label })));
    return true;
  });
  const { groups, damaged } = newest ?? stored.answer ?? NONE;
  return {
    groups,
    /** Lines of the file of labels that could not be read. */
    damaged,
    loadError: stored.error,
    /** Labels images or removes their labels, one change after the other. @returns Whether all changes were made. */
    change: async (changes: readonly LabelChange[]): Promise<boolean> => (await change(changes)) ?? false,
    changeError: error,
  };
}

export type IndexLabels = ReturnType<typeof useLabels>;
