/** The selection, labels, proposals, and exports. */
import { useState } from 'preact/hooks';
import { type FoundImage, type LabelGroup, pictureOf } from '../api.ts';
import { Failure } from '../ui/parts.tsx';
import { ask, offerAnother, type Show, textOf } from './ask.ts';

/** Gives images of the index a label, or takes theirs away; the index keeps it. */
export type Label = (rows: Iterable<number>, label: string | null) => Promise<void>;

interface LabelsProps {
  index: string;
  selected: number[];
  labels: LabelGroup[];
  label: Label;
  clear: () => void;
  show: Show;
}

/** Labels the selection, asks for proposals, accepts them, and exports. */
export function Labels({ index, selected, labels, label, clear, show }: LabelsProps) {
  const [proposals, setProposals] = useState<(FoundImage & { proposed: string })[]>([]);
  const [error, setError] = useState<unknown>(null);
  const [said, setSaid] = useState('');
  const labelThem = (rows: readonly number[], name: string | null): void => {
    setError(null);
    label(rows, name).catch(setError);
  };
  const accept = async (): Promise<void> => {
    for (const name of new Set(proposals.map(({ proposed }) => proposed)))
      await label(
        proposals.filter(({ proposed }) => proposed === name).map(({ row }) => row),
        name,
      );
  };
  return (
    <section aria-label="Selection and labels">
      <div class="row">
        <span>{selected.length} images selected</span>
        <button
          type="button"
          disabled={selected.length === 0}
          onClick={() => show('Selected', ask(index, { kind: 'images', rows: selected.slice(0, 1000) }))}
        >
          Show them
        </button>
        <button type="button" disabled={selected.length === 0} onClick={clear}>
          Select none
        </button>
      </div>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const name = textOf(event.currentTarget, 'label').trim();
          if (name !== '') labelThem(selected, name);
        }}
      >
        <label>
          Label for the selected images
          <input name="label" required maxLength={100} pattern="[^.\/\\][^\/\\]*" />
        </label>
        <button type="submit" disabled={selected.length === 0}>
          Label them
        </button>
        <button type="button" disabled={selected.length === 0} onClick={() => labelThem(selected, null)}>
          Take their labels away
        </button>
      </form>
      {labels.length > 0 && (
        <ul class="labels">
          {labels.map((group) => (
            <li key={group.label}>
              {group.label}: {group.rows.length} images
            </li>
          ))}
        </ul>
      )}
      <div class="row">
        <button
          type="button"
          disabled={labels.length === 0}
          onClick={() => {
            setError(null);
            ask(index, { kind: 'propose' }).then((found) => {
              if (found.kind === 'proposals') setProposals(found.proposals);
            }, setError);
          }}
        >
          Propose labels for their neighbours
        </button>
        <button
          type="button"
          disabled={proposals.length === 0}
          onClick={() => {
            setError(null);
            accept().then(() => setProposals([]), setError);
          }}
        >
          Accept {proposals.length} proposals
        </button>
      </div>
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
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const form = event.currentTarget;
          const target = textOf(form, 'target');
          const how = textOf(event.currentTarget, 'how') as 'list' | 'copy' | 'link';
          const given = labels.length > 0 ? {} : { groups: [{ label: '', rows: selected }] };
          setError(null);
          ask(index, { kind: 'export', how, target, ...given }).then(
            (found) => {
              if (found.kind === 'exported') setSaid(`${found.count} images in ${target}`);
            },
            offerAnother(form, 'target', setError),
          );
        }}
      >
        <h2>Export {labels.length > 0 ? 'what has labels' : 'the selection'}</h2>
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
        <button type="submit" disabled={selected.length === 0 && labels.length === 0}>
          Export
        </button>
        <p role="status">{said}</p>
      </form>
      {error !== null && <Failure error={error} />}
    </section>
  );
}
