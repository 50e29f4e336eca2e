/** Writes images of an index, with their labels, into a new file or folder. */
import { useState } from 'preact/hooks';
import type { FindQuestion, LabelGroup } from '../api.ts';
import { RequestError } from '../errors.ts';
import { Form } from '../ui/form.tsx';
import { counted } from '../ui/format.ts';
import { Failure } from '../ui/parts.tsx';
import { useAnswer } from '../use-answer.ts';
import { askIndex, ofKind, type OpenIndex } from './ask.ts';
import type { IndexLabels } from './use-labels.ts';

type How = Extract<FindQuestion, { kind: 'export' }>['how'];
const KINDS: Readonly<Record<How, { words: string; ending: string }>> = {
  table: { words: 'a table of paths and labels (CSV)', ending: '.csv' },
  list: { words: 'a list of paths (text)', ending: '.txt' },
  copy: { words: 'a folder of copies, one folder per label', ending: '' },
  link: { words: 'a folder of links, one folder per label', ending: '' },
};

/** `list.txt` becomes `list-2.txt`, and that `list-3.txt`. */
export function nextName(name: string): string {
  const [, stem = '', number, ending = ''] = /^(.*?)(?:-(\d{1,6}))?(\.[^./\\]*)?$/s.exec(name) ?? [];
  return `${stem}-${number === undefined ? 2 : Number(number) + 1}${ending}`;
}

/** Whether something with that name exists already. */
export const isTaken = (error: unknown): boolean => error instanceof RequestError && error.code === 'TAKEN';

/** The selection by label; '' for images without one. */
function groupsOf(selected: ReadonlySet<number>, labelOf: ReadonlyMap<number, string>): LabelGroup[] {
  const groups = new Map<string, number[]>();
  for (const row of selected) {
    const label = labelOf.get(row) ?? '';
    const rows = groups.get(label);
    if (rows === undefined) groups.set(label, [row]);
    else rows.push(row);
  }
  return [...groups].map(([label, rows]) => ({ label, rows }));
}

interface ExportFormProps {
  index: OpenIndex;
  labels: IndexLabels;
  selected: ReadonlySet<number>;
  onClose: () => void;
}

export function ExportForm({ index, labels, selected, onClose }: ExportFormProps) {
  const labelled = labels.labelOf.size;
  const [what, setWhat] = useState<'selected' | 'labelled'>(selected.size > 0 ? 'selected' : 'labelled');
  const [how, setHow] = useState<How>(labelled > 0 ? 'table' : 'list');
  const stem = index.folder.replace(/(\.index)?[/\\]*$/, '');
  const [typed, setTyped] = useState<string | null>(null);
  const target = typed ?? `${stem}-${what}${KINDS[how].ending}`;
  const writing = useAnswer(async () => {
    const groups = what === 'selected' ? { groups: groupsOf(selected, labels.labelOf) } : {};
    try {
      const answer = await askIndex(index, { kind: 'export', how, target, ...groups });
      return `${counted(ofKind('exported')(answer).count, 'image')} in ${target}`;
    } catch (error) {
      if (isTaken(error)) setTyped(nextName(target));
      throw error;
    }
  });
  return (
    <Form class="stack" onSubmit={() => void writing.ask(null)}>
      <h2>Export</h2>
      <label>
        What
        <select
          value={what}
          onChange={(event) => {
            setWhat(event.currentTarget.value as typeof what);
            setTyped(null);
          }}
        >
          <option value="selected" disabled={selected.size === 0}>
            the selection ({counted(selected.size, 'image')})
          </option>
          <option value="labelled" disabled={labelled === 0}>
            everything with a label ({counted(labelled, 'image')})
          </option>
        </select>
      </label>
      <label>
        As
        <select
          value={how}
          onChange={(event) => {
            setHow(event.currentTarget.value as How);
            setTyped(null);
          }}
        >
          {(Object.keys(KINDS) as How[]).map((kind) => (
            <option key={kind} value={kind}>
              {KINDS[kind].words}
            </option>
          ))}
        </select>
      </label>
      {how === 'list' && labelled > 0 && (
        <p class="note">A list has only the paths, without labels: a table has both.</p>
      )}
      <label>
        New {KINDS[how].ending === '' ? 'folder' : 'file'}
        <input
          type="text"
          name="target"
          required
          value={target}
          onInput={(event) => setTyped(event.currentTarget.value)}
        />
      </label>
      <p class="row">
        <button type="submit" class="main" disabled={writing.isBusy}>
          {writing.isBusy ? 'Writing…' : 'Write it'}
        </button>
        <button type="button" onClick={onClose}>
          Close
        </button>
      </p>
      <p role="status">{writing.answer}</p>
      {writing.error !== null && <Failure error={writing.error} />}
    </Form>
  );
}
