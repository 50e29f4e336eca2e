/** The labels that an index keeps. */
import { useMemo, useState } from 'preact/hooks';
import { counted } from '../ui/format.ts';
import { useAnswer } from '../use-answer.ts';
import { type AnswerOf, askIndex, ofKind, type OpenIndex } from './ask.ts';
import { remember } from './marks.ts';

export interface LabelChange {
  rows: readonly number[];
  /** null removes their labels. */
  label: string | null;
}

const read = ofKind('labels');
/** One shared object: what depends on the labels is not computed again while there are none. */
const NONE = { groups: [], damaged: 0 };

/** The changes that bring back the labels that rows have now. */
function inverse(rows: Iterable<number>, labelOf: ReadonlyMap<number, string>): LabelChange[] {
  const before = new Map<string | null, number[]>();
  for (const row of rows) {
    const label = labelOf.get(row) ?? null;
    const some = before.get(label);
    if (some === undefined) before.set(label, [row]);
    else some.push(row);
  }
  return [...before].map(([label, some]) => ({ label, rows: some }));
}

const wordsOf = (changes: readonly LabelChange[]): string =>
  changes
    .map(({ rows, label }) =>
      label === null
        ? `label removed from ${counted(rows.length, 'image')}`
        : `${counted(rows.length, 'image')} labelled “${label}”`,
    )
    .join(', ');

export function useLabels(index: OpenIndex) {
  const [newest, setNewest] = useState<AnswerOf<'labels'> | null>(null);
  const stored = useAnswer(
    async (of: OpenIndex, signal) => read(await askIndex(of, { kind: 'labels' }, signal)),
    index,
  );
  const { groups, damaged } = newest ?? stored.answer ?? NONE;
  const labelOf = useMemo(() => {
    const labels = new Map<number, string>();
    for (const { label, rows } of groups) for (const row of rows) labels.set(row, label);
    return labels;
  }, [groups]);
  const { ask: write, error } = useAnswer(async (changes: readonly LabelChange[]) => {
    for (const { rows, label } of changes)
      if (rows.length > 0) setNewest(read(await askIndex(index, { kind: 'label', rows: [...rows], label })));
    return true;
  });
  return {
    groups,
    labelOf: labelOf as ReadonlyMap<number, string>,
    /** Lines of the file of labels that could not be read. */
    damaged,
    loadError: stored.error,
    /** Labels images or removes their labels, one change after the other. @returns Whether all changes were made. */
    change: async (changes: readonly LabelChange[]): Promise<boolean> => {
      const back = inverse(new Set(changes.flatMap(({ rows }) => rows)), labelOf);
      const isDone = (await write(changes)) ?? false;
      if (isDone) remember(wordsOf(changes), () => void write(back));
      return isDone;
    },
    changeError: error,
  };
}

export type IndexLabels = ReturnType<typeof useLabels>;
