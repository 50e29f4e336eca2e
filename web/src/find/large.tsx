/** An image shown large: what is like it, a part of it, its label; arrow keys go on, number keys label. */
import type { FindAnswer, IndexAbout } from '../api.ts';
import { pictureOf } from '../api.ts';
import { Dialog } from '../ui/dialog.tsx';
import { count } from '../ui/format.ts';
import { Icon } from '../ui/icon.tsx';
import { lookWith } from '../ui/model-actions.tsx';
import { Failure } from '../ui/parts.tsx';
import { sizeFor } from '../ui/thumb.tsx';
import { type OpenIndex, useAsk } from './ask.ts';
import { Cell, MarkButtons, markByKey, markClasses } from './cell.tsx';
import { LabelForm } from './label-form.tsx';
import { done, undoLast } from './marks.ts';
import { go, search } from './place.ts';
import { RegionImage } from './region.tsx';
import type { Images, Shown } from './shown.ts';
import type { IndexLabels } from './use-labels.ts';

/** Neighbours that are shown with an image. */
const NEIGHBOURS = 8;

interface LargeProps {
  index: OpenIndex;
  about: IndexAbout;
  row: number;
  part: Parameters<typeof RegionImage>[0]['part'];
  shown: Shown;
  images: Images;
  labels: IndexLabels;
}

/** The neighbours of an image, from the answer to a search for it. */
const imagesIn = (answer: FindAnswer | null) =>
  answer?.kind === 'images' ? answer.images.slice(0, NEIGHBOURS) : [];

export function Large({ index, about, row, part, shown, images, labels }: LargeProps) {
  const name = images.nameOf(row);
  const path = images.pathOf(row);
  const near = useAsk(index, { kind: 'search', plus: [row], minus: [], top: NEIGHBOURS });
  const at = shown.rows.indexOf(row);
  const step = (by: number): void => {
    const next = shown.rows[at < 0 ? 0 : at + by];
    if (next !== undefined) go({ image: next, part: null }, { replace: true });
  };
  const label = labels.labelOf.get(row);
  const give = (value: string | null): void => void labels.change([{ rows: [row], label: value }]);
  const close = (): void => go({ image: null });
  const byKey = (event: KeyboardEvent): void => {
    const target = event.target as HTMLElement;
    const { key } = event;
    if ((event.ctrlKey || event.metaKey) && key === 'z') undoLast();
    else if (target.closest('input') !== null || event.ctrlKey || event.metaKey || event.altKey) return;
    else if (key === 'ArrowLeft') step(-1);
    else if (key === 'ArrowRight') step(1);
    else if (key === '0' && label !== undefined) give(null);
    else if (/^[1-9]$/.test(key) && labels.groups[Number(key) - 1] !== undefined)
      give(labels.groups[Number(key) - 1]!.label);
    // on a button, the space bar presses it
    else if ((key === ' ' && target.closest('button, a') !== null) || !markByKey(key, row, name)) return;
    event.preventDefault();
    event.stopPropagation();
  };
  const look = lookWith({ path: about.weights, heads: about.numHeads }, path);
  return (
    <Dialog label={`Image ${name}`} class="large" onClose={close} onKeyDown={byKey}>
      <header class="row">
        <h2>{name}</h2>
        <span class="note">{at >= 0 && `${count(at + 1)} of ${count(shown.rows.length)}`}</span>
        <span class="push row">
          <button type="button" disabled={at <= 0} onClick={() => step(-1)} aria-label="Previous image">
            <Icon name="left" />
          </button>
          <button
            type="button"
            disabled={at + 1 >= shown.rows.length}
            onClick={() => step(1)}
            aria-label="Next image"
          >
            <Icon name="right" />
          </button>
          <button type="button" onClick={close}>
            Close
          </button>
        </span>
      </header>
      <div class="large-body">
        <div class={`large-image ${markClasses(row)}`}>
          <RegionImage
            key={row}
            src={pictureOf(path, sizeFor(900))}
            name={name}
            part={part}
            onSearch={(region) => search({ like: [row], part: region })}
          />
        </div>
        <div class="large-side">
          <p class="row">
            <button type="button" class="main" onClick={() => search({ like: [row] })}>
              More like this
            </button>
            <a class="button" href={look}>
              Look at it
            </a>
            <MarkButtons row={row} name={name} isCurrent={true} />
          </p>
          {shown.notes.has(row) && <p class="note">{shown.notes.get(row)![1]}</p>}
          <h3>Label{label !== undefined && `: ${label}`}</h3>
          {labels.groups.length > 0 && (
            <p class="row">
              {labels.groups.slice(0, 9).map((group, i) => (
                <button
                  key={group.label}
                  type="button"
                  class="toggle"
                  aria-pressed={group.label === label}
                  onClick={() => give(group.label === label ? null : group.label)}
                >
                  <kbd>{i + 1}</kbd> {group.label}
                </button>
              ))}
            </p>
          )}
          <LabelForm labels={labels} button="Label it" onLabel={give} />
          <p class="row">
            {label !== undefined && (
              <button type="button" onClick={() => give(null)}>
                <kbd>0</kbd> Remove the label
              </button>
            )}
            <button
              type="button"
              disabled={done.value.length === 0}
              onClick={undoLast}
              title={done.value.at(-1)?.what}
            >
              Undo
            </button>
          </p>
          <h3>Its neighbours</h3>
          {near.error !== null && <Failure error={near.error} />}
          <ul class="neighbours" aria-busy={near.isBusy}>
            {imagesIn(near.answer).map((image) => (
              <li key={image.row} class={markClasses(image.row)}>
                <Cell
                  {...{ row: image.row, name: image.name, path: image.path, place: null }}
                  state={{ isCurrent: true, side: 90 }}
                  note={undefined}
                  label={labels.labelOf.get(image.row)}
                />
              </li>
            ))}
          </ul>
        </div>
      </div>
    </Dialog>
  );
}
