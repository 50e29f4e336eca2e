/** The selection, labels, proposals, and exports. */
import { useState } from 'preact/hooks';
import { type FoundImage, pictureOf } from '../api.ts';
import { Failure } from '../ui/parts.tsx';
import { ask, type Show, textOf } from './ask.ts';

interface LabelsProps {
  index: string;
  selected: number[];
  labels: ReadonlyMap<number, string>;
  setLabels: (labels: ReadonlyMap<number, string>) => void;
  clear: () => void;
  show: Show;
}

/** Labels the selection, asks for proposals, accepts them, and exports. */
export function Labels({ index, selected, labels, setLabels, clear, show }: LabelsProps) {
  const [proposals, setProposals] = useState<(FoundImage & { proposed: string })[]>([]);
  const [error, setError] = useState<unknown>(null);
  const [said, setSaid] = useState('');
  const names = [...new Set(labels.values())].sort();
  const groups = names.map((name) => ({
    name,
    rows: [...labels].flatMap(([row, label]) => (label === name ? [row] : [])),
  }));
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
          const label = textOf(event.currentTarget, 'label').trim();
          if (label !== '') setLabels(new Map([...labels, ...selected.map((row) => [row, label] as const)]));
        }}
      >
        <label>
          Label for the selected images
          <input name="label" required maxLength={100} pattern="[^.\/\\][^\/\\]*" />
        </label>
        <button type="submit" disabled={selected.length === 0}>
          Label them
        </button>
      </form>
      {groups.length > 0 && (
        <ul class="labels">
          {groups.map(({ name, rows }) => (
            <li key={name}>
              {name}: {rows.length} images
            </li>
          ))}
        </ul>
      )}
      <div class="row">
        <button
          type="button"
          disabled={labels.size === 0}
          onClick={() => {
            setError(null);
            const given = [...labels].map(([row, label]) => ({ row, label }));
            ask(index, { kind: 'propose', labels: given }).then((found) => {
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
            setLabels(
              new Map([...labels, ...proposals.map(({ row, proposed }) => [row, proposed] as const)]),
            );
            setProposals([]);
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
          const target = textOf(event.currentTarget, 'target');
          const how = textOf(event.currentTarget, 'how') as 'list' | 'copy' | 'link';
          const given = groups.length > 0 ? groups : [{ name: '', rows: selected }];
          setError(null);
          ask(index, { kind: 'export', how, target, groups: given }).then((found) => {
            if (found.kind === 'exported') setSaid(`${found.count} images in ${target}`);
          }, setError);
        }}
      >
        <h2>Export {groups.length > 0 ? 'what has labels' : 'the selection'}</h2>
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
        <button type="submit" disabled={selected.length === 0 && labels.size === 0}>
          Export
        </button>
        <p role="status">{said}</p>
      </form>
      {error !== null && <Failure error={error} />}
    </section>
  );
}
