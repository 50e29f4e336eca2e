/** The selection, labels, proposals, and exports. */
import { useState } from 'preact/hooks';
import { type FindAsk, type FoundImage, pictureOf } from '../api.ts';
import { Form } from '../ui/form.tsx';
import { counted } from '../ui/format.ts';
import { Failure } from '../ui/parts.tsx';
import { useAnswer } from '../use-answer.ts';
import { useRequest } from '../use-request.ts';
import { askIndex, ofKind, type Show } from './ask.ts';
import { offeringAnother, textOf } from './fields.ts';
import type { IndexLabels } from './use-labels.ts';

type ExportKind = Extract<FindAsk, { kind: 'export' }>['how'];

interface LabelsProps {
  index: string;
  selected: number[];
  labels: IndexLabels;
  clear: () => void;
  show: Show;
}

/** Labels the selection, asks for proposals, accepts them, and exports. */
export function Labels({ index, selected, labels, clear, show }: LabelsProps) {
  const [proposals, setProposals] = useState<(FoundImage & { proposed: string })[]>([]);
  const proposing = useRequest('POST /api/find/ask', null, { read: ofKind('proposals') });
  const exporting = useAnswer(async (form: HTMLFormElement) => {
    const [how, target] = [textOf(form, 'how') as ExportKind, textOf(form, 'target')];
    const given = labels.groups.length > 0 ? {} : { groups: [{ label: '', rows: selected }] };
    const asked = askIndex(index, { kind: 'export', how, target, ...given });
    const { count } = ofKind('exported')(await offeringAnother(form, 'target', asked));
    return `${counted(count, 'image')} in ${target}`;
  });
  const label = (name: string | null): void => void labels.change([{ rows: selected, label: name }]);
  const propose = async (): Promise<void> => {
    const found = await proposing.ask({ body: { index, ask: { kind: 'propose' } } });
    if (found !== null) setProposals(found.proposals);
  };
  const accept = async (): Promise<void> => {
    const names = [...new Set(proposals.map(({ proposed }) => proposed))];
    const changes = names.map((name) => ({
      rows: proposals.filter(({ proposed }) => proposed === name).map(({ row }) => row),
      label: name,
    }));
    if (await labels.change(changes)) setProposals([]);
  };
  return (
    <section aria-label="Selection and labels">
      <div class="row">
        <span>{counted(selected.length, 'image')} selected</span>
        <button
          type="button"
          disabled={selected.length === 0}
          onClick={() => show('Selected', { kind: 'images', rows: selected.slice(0, 1000) })}
        >
          Show them
        </button>
        <button type="button" disabled={selected.length === 0} onClick={clear}>
          Select none
        </button>
      </div>
      <Form
        onSubmit={(form) => {
          const name = textOf(form, 'label').trim();
          if (name !== '') label(name);
        }}
      >
        <label>
          Label for the selected images
          <input name="label" required maxLength={100} pattern="[^.\/\\][^\/\\]*" />
        </label>
        <button type="submit" disabled={selected.length === 0}>
          Label them
        </button>
        <button type="button" disabled={selected.length === 0} onClick={() => label(null)}>
          Remove their labels
        </button>
        {labels.changeError !== null && <Failure error={labels.changeError} />}
      </Form>
      {labels.groups.length > 0 && (
        <ul class="labels">
          {labels.groups.map((group) => (
            <li key={group.label}>
              {group.label}: {counted(group.rows.length, 'image')}
            </li>
          ))}
        </ul>
      )}
      <div class="row">
        <button type="button" disabled={labels.groups.length === 0} onClick={() => void propose()}>
          Propose labels for their neighbours
        </button>
        <button type="button" disabled={proposals.length === 0} onClick={() => void accept()}>
          Accept {counted(proposals.length, 'proposal')}
        </button>
      </div>
      {proposing.error !== null && <Failure error={proposing.error} />}
      {proposals.length > 0 && (
        <ul class="pictures proposals" aria-label="Proposed labels">
          {proposals.slice(0, 200).map((image) => (
            <li key={image.row}>
              <img src={pictureOf(image.path)} alt={image.name} loading="lazy" />
              <span class="name">
                {image.proposed}? {(100 * (image.score ?? 0)).toFixed(0)}%
              </span>
              <button
                type="button"
                aria-label={`Not ${image.proposed}: ${image.name}`}
                onClick={() => setProposals(proposals.filter(({ row }) => row !== image.row))}
              >
                No
              </button>
            </li>
          ))}
        </ul>
      )}
      <Form onSubmit={(form) => void exporting.ask(form)}>
        <h2>Export {labels.groups.length > 0 ? 'the labelled images' : 'the selection'}</h2>
        <label>
          As
          <select name="how">
            <option value="list">a text file of paths</option>
            <option value="copy">a folder of copies</option>
            <option value="link">a folder of links</option>
          </select>
        </label>
        <label>
          New file or folder
          <input name="target" required />
        </label>
        <button type="submit" disabled={selected.length === 0 && labels.groups.length === 0}>
          Export
        </button>
        <p role="status">{exporting.answer}</p>
        {exporting.error !== null && <Failure error={exporting.error} />}
      </Form>
    </section>
  );
}
