/** What is marked, always in view, and what can be done with it. */
import { useState } from 'preact/hooks';
import { Dialog } from '../ui/dialog.tsx';
import { count, counted } from '../ui/format.ts';
import type { OpenIndex } from './ask.ts';
import { ExportForm } from './export-form.tsx';
import { LabelForm } from './label-form.tsx';
import { clearMarks, done, marks, undoLast } from './marks.ts';
import { search } from './place.ts';
import type { IndexLabels } from './use-labels.ts';

interface TrayProps {
  index: OpenIndex;
  labels: IndexLabels;
}

export function Tray({ index, labels }: TrayProps) {
  const { selected, like, unlike } = marks.value;
  const [opened, setOpened] = useState<'label' | 'export' | null>(null);
  const close = (): void => setOpened(null);
  const rows = [...selected];
  const give = async (label: string | null): Promise<void> => {
    if (await labels.change([{ rows, label }])) close();
  };
  const last = done.value.at(-1);
  return (
    <section class="tray" aria-label="Marked images">
      <p role="status">
        {count(selected.size)} selected, {count(like.size)} like, {count(unlike.size)} unlike
        {last !== undefined && <span class="note last"> · {last.what}</span>}
      </p>
      <div class="row">
        <button
          type="button"
          class="main"
          disabled={like.size === 0}
          title="Images like those with + and unlike those with −"
          onClick={() => search({ like: [...like].slice(0, 100), unlike: [...unlike].slice(0, 100) })}
        >
          Search
        </button>
        <button type="button" disabled={selected.size === 0} onClick={() => setOpened('label')}>
          Label
        </button>
        <button
          type="button"
          disabled={selected.size === 0 && labels.groups.length === 0}
          onClick={() => setOpened('export')}
        >
          Export
        </button>
        <button type="button" disabled={selected.size + like.size + unlike.size === 0} onClick={clearMarks}>
          Clear
        </button>
        <button type="button" disabled={last === undefined} onClick={undoLast}>
          Undo
        </button>
      </div>
      {opened === 'label' && (
        <Dialog label="Label the selection" onClose={close}>
          <h2>Label {counted(selected.size, 'image')}</h2>
          {labels.groups.length > 0 && (
            <p class="row">
              {labels.groups.slice(0, 30).map(({ label }) => (
                <button key={label} type="button" onClick={() => void give(label)}>
                  {label}
                </button>
              ))}
            </p>
          )}
          <LabelForm labels={labels} button="Give this label" onLabel={(label) => void give(label)} />
          <p class="row">
            <button type="button" onClick={() => void give(null)}>
              Remove their labels
            </button>
            <button type="button" onClick={close}>
              Cancel
            </button>
          </p>
        </Dialog>
      )}
      {opened === 'export' && (
        <Dialog label="Export images" onClose={close}>
          <ExportForm index={index} labels={labels} selected={selected} onClose={close} />
        </Dialog>
      )}
    </section>
  );
}
