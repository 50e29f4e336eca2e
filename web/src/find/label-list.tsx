/** The labels of an index as a list that filters; and labels proposed for other images. */
import { useState } from 'preact/hooks';
import type { FoundImage } from '../api.ts';
import { counted } from '../ui/format.ts';
import { Failure } from '../ui/parts.tsx';
import { Thumb } from '../ui/thumb.tsx';
import { useAnswer } from '../use-answer.ts';
import { askIndex, ofKind } from './ask.ts';
import type { ControlsProps } from './controls.tsx';
import { go } from './place.ts';

/** Proposals that are drawn; all are accepted. */
const DRAWN = 100;

export function LabelList({ index, place, images, labels }: ControlsProps) {
  const [proposals, setProposals] = useState<(FoundImage & { proposed: string })[] | null>(null);
  const proposing = useAnswer(async () => {
    setProposals(ofKind('proposals')(await askIndex(index, { kind: 'propose' })).proposals);
    return true;
  });
  const accept = async (): Promise<void> => {
    const names = [...new Set(proposals!.map(({ proposed }) => proposed))];
    const changes = names.map((label) => ({
      rows: proposals!.filter(({ proposed }) => proposed === label).map(({ row }) => row),
      label,
    }));
    if (await labels.change(changes)) setProposals(null);
  };
  const entries: readonly [label: string | null, words: string, rows: number][] = [
    [null, 'All labels', labels.labelOf.size],
    ...labels.groups.map(({ label, rows }): [string, string, number] => [label, label, rows.length]),
    ['', 'Without a label', images.count - labels.labelOf.size],
  ];
  return (
    <div class="label-list">
      <ul class="row labels" aria-label="Labels">
        {entries.map(([label, words, rows]) => (
          <li key={label ?? '/'}>
            <button
              type="button"
              class="toggle"
              aria-pressed={place.label === label}
              onClick={() => go({ label })}
            >
              {words} <span class="count">{rows}</span>
            </button>
          </li>
        ))}
      </ul>
      {labels.groups.length === 0 ? (
        <p class="note">
          No image has a label yet. Select some with ✓ and press Label below, or open one and type its label.
        </p>
      ) : (
        proposals === null && (
          <p class="row">
            <button type="button" disabled={proposing.isBusy} onClick={() => void proposing.ask(null)}>
              {proposing.isBusy ? 'Comparing…' : 'Propose labels for images like these'}
            </button>
          </p>
        )
      )}
      {proposing.error !== null && <Failure error={proposing.error} />}
      {labels.changeError !== null && <Failure error={labels.changeError} />}
      {proposals !== null && (
        <section aria-label="Proposed labels" class="proposals">
          <p class="row">
            <span>
              {proposals.length === 0
                ? 'No other image is similar enough to a labelled one.'
                : `${counted(proposals.length, 'proposal')}, the surest first:`}
            </span>
            <button
              type="button"
              class="main"
              disabled={proposals.length === 0}
              onClick={() => void accept()}
            >
              Accept {counted(proposals.length, 'proposal')}
            </button>
            <button type="button" onClick={() => setProposals(null)}>
              Close
            </button>
          </p>
          <ul class="strip" tabIndex={0}>
            {proposals.slice(0, DRAWN).map((image) => (
              <li key={image.row}>
                <Thumb path={image.path} side={90} alt={image.name} />
                <span class="caption">
                  {image.proposed}? {(100 * (image.score ?? 0)).toFixed(0)} %
                </span>
                <button
                  type="button"
                  aria-label={`No, not ${image.proposed}: ${image.name}`}
                  onClick={() => setProposals(proposals.filter(({ row }) => row !== image.row))}
                >
                  No
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
    </div>
  );
}
