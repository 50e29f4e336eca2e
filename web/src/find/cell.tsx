/** An image of an index in a grid or a group: its picture, what is marked of it, and buttons to mark it. */
import type { CellState } from '../ui/virtual-grid.tsx';
import { lastPart } from '../ui/format.ts';
import { Icon } from '../ui/icon.tsx';
import { Thumb } from '../ui/thumb.tsx';
import { hovered, type Mark, marks, toggleMark } from './marks.ts';
import { go } from './place.ts';

const MARKS: readonly { mark: Mark; words: string; icon: 'check' | 'plus' | 'minus' }[] = [
  { mark: 'selected', words: 'Select', icon: 'check' },
  { mark: 'like', words: 'More like', icon: 'plus' },
  { mark: 'unlike', words: 'Less like', icon: 'minus' },
];

export const markClasses = (row: number): string => {
  const { selected, like, unlike } = marks.value;
  return [selected.has(row) ? 'selected' : '', like.has(row) ? 'liked' : '', unlike.has(row) ? 'unliked' : '']
    .filter((name) => name !== '')
    .join(' ');
};

/** Buttons that mark an image; pressed ones stay visible on the picture. */
export function MarkButtons(props: { row: number; name: string; isCurrent: boolean; isSmall?: boolean }) {
  const { row, name, isCurrent, isSmall = false } = props;
  return (
    <span class={isSmall ? 'marks small' : 'marks'}>
      {MARKS.map(({ mark, words, icon }) => (
        <button
          key={mark}
          type="button"
          class={mark}
          tabIndex={isCurrent ? 0 : -1}
          aria-pressed={marks.value[mark].has(row)}
          aria-label={`${words} ${name}`}
          title={words}
          onClick={() => toggleMark(mark, row, name)}
        >
          <Icon name={icon} />
        </button>
      ))}
    </span>
  );
}

/** CSS pixels: buttons of the usual size would cover a cell that is not wider. */
const SMALL = 100;

export interface CellProps {
  row: number;
  name: string;
  path: string;
  /** Its place in the grid; null outside of one. */
  place: number | null;
  state: CellState;
  note: readonly [short: string, long: string] | undefined;
  label: string | undefined;
}

export function Cell({ row, name, path, place, state, note, label }: CellProps) {
  const { isCurrent, side } = state;
  return (
    <>
      <button
        type="button"
        class="picture"
        tabIndex={isCurrent ? 0 : -1}
        data-cell={place ?? undefined}
        aria-label={`Open ${name}`}
        title={note === undefined ? name : `${name}: ${note[1]}`}
        onClick={() => go({ image: row })}
        onPointerEnter={() => (hovered.value = row)}
        onPointerLeave={() => (hovered.value = null)}
      >
        <Thumb path={path} side={side} alt="" />
      </button>
      <MarkButtons {...{ row, name, isCurrent }} isSmall={side <= SMALL} />
      <span class="caption">
        {note !== undefined && <b>{note[0]}</b>} {label ?? lastPart(name)}
      </span>
    </>
  );
}

/** What keys do to an image of a grid. @returns Whether the key meant something. */
export function markByKey(key: string, row: number, name: string): boolean {
  const mark: Mark | undefined =
    key === ' ' ? 'selected' : key === '+' ? 'like' : key === '-' ? 'unlike' : undefined;
  if (mark === undefined) return false;
  toggleMark(mark, row, name);
  return true;
}
