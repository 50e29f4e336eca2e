/** The images that a view shows: one grid, or groups. */
import { scrollKept, VirtualGrid } from '../ui/virtual-grid.tsx';
import { counted } from '../ui/format.ts';
import { Cell, markByKey, markClasses } from './cell.tsx';
import { select } from './marks.ts';
import { go, type Place } from './place.ts';
import type { Group, Images, Shown } from './shown.ts';

/** Groups that are drawn; more are counted. */
const MOST_GROUPS = 200;
const CAPTION = 22;

interface ResultsProps {
  /** Stands for what is shown: another one begins at its top. */
  name: string;
  place: Place;
  shown: Shown;
  images: Images;
  labelOf: ReadonlyMap<number, string>;
}

export function Results(props: ResultsProps) {
  const { shown, name, place, images, labelOf } = props;
  if (shown.groups !== null) return <Groups {...props} groups={shown.groups} />;
  const { rows, notes } = shown;
  return (
    <VirtualGrid
      key={place.view}
      label="Images"
      count={rows.length}
      side={place.side}
      extra={CAPTION}
      keyOf={(i) => rows[i]!}
      classOf={(i) => markClasses(rows[i]!)}
      cell={(i, state) => {
        const row = rows[i]!;
        return (
          <Cell
            {...{ row, state, place: i, name: images.nameOf(row), path: images.pathOf(row) }}
            {...{ note: notes.get(row), label: labelOf.get(row) }}
          />
        );
      }}
      onKey={(i, event) => {
        const row = rows[i];
        const isPicture = (event.target as HTMLElement).dataset['cell'] !== undefined;
        if (row !== undefined && isPicture && markByKey(event.key, row, images.nameOf(row)))
          event.preventDefault();
      }}
      kept={scrollKept(name)}
    />
  );
}

function Groups(props: ResultsProps & { groups: readonly Group[] }) {
  const { groups, place } = props;
  return (
    <div class="groups" tabIndex={0}>
      {groups.slice(0, MOST_GROUPS).map((group) => (
        <GroupCard key={group.rows[0]} {...props} group={group} />
      ))}
      {groups.length > MOST_GROUPS && (
        <p class="note">
          The {MOST_GROUPS} largest of {counted(groups.length, 'group')}.
        </p>
      )}
      {groups.length === 0 && (
        <p class="note">
          {place.view === 'duplicates'
            ? 'No two images are this similar. Move the slider to the left to find more.'
            : 'The filter leaves no images.'}
        </p>
      )}
    </div>
  );
}

function GroupCard({ group, place, images, labelOf }: ResultsProps & { group: Group }) {
  const { rows } = group;
  const isDuplicates = place.view === 'duplicates';
  const title = `${isDuplicates ? 'Group' : 'Cluster'} ${group.place + 1}`;
  const state = { isCurrent: true, side: 110 };
  return (
    <section class="group" aria-label={title}>
      <header class="row">
        <h2>
          {title}: {counted(rows.length, 'image')}
        </h2>
        <button type="button" onClick={() => select(rows, `${title} selected`)}>
          Select all {rows.length}
        </button>
        {isDuplicates && (
          <button
            type="button"
            title="All but the first, which has the largest file"
            onClick={() => select(rows.slice(1), `${title}: copies selected`)}
          >
            Select the {rows.length === 2 ? 'copy' : `${rows.length - 1} copies`}
          </button>
        )}
        <button type="button" onClick={() => go({ group: group.place })}>
          Show only these
        </button>
      </header>
      <ul>
        {group.images.map(({ row, score, share }) => (
          <li key={row} class={markClasses(row)}>
            <Cell
              {...{ row, state, place: null, name: images.nameOf(row), path: images.pathOf(row) }}
              note={
                isDuplicates && score !== null && share !== null
                  ? [score.toFixed(3), `similarity ${score.toFixed(4)}`]
                  : undefined
              }
              label={labelOf.get(row)}
            />
          </li>
        ))}
      </ul>
    </section>
  );
}
