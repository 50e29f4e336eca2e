/** The map beside the grid: what its points' colours mean; fetched, or laid out first. */
import { useMemo } from 'preact/hooks';
import type { FindQuestion, IndexAbout } from '../api.ts';
import { tasksOf, useTask } from '../live.ts';
import { counted } from '../ui/format.ts';
import { lazy } from '../ui/lazy.tsx';
import { Failure, Loading } from '../ui/parts.tsx';
import { TaskProgress } from '../ui/task-progress.tsx';
import { useAnswer } from '../use-answer.ts';
import { useRequest } from '../use-request.ts';
import { mapOf, type OpenIndex, useAsk } from './ask.ts';
import { type Colouring, colouringOf, usualColour } from './map-colours.ts';
import { setMarks } from './marks.ts';
import { COLOURS, type Colour, go, type Place, search } from './place.ts';
import type { Images, Shown } from './shown.ts';
import type { IndexLabels } from './use-labels.ts';

/** deck.gl is larger than the rest of the page: it is loaded when a map is opened. */
const FindMap = lazy('the map', async () => (await import('./map.tsx')).FindMap);

interface MapPaneProps {
  index: OpenIndex;
  about: IndexAbout;
  place: Place;
  images: Images;
  labels: IndexLabels;
  /** null: everything. */
  shown: Shown | null;
}

const questionFor = (colour: Colour, clusters: number | null): FindQuestion | null =>
  colour === 'cluster'
    ? { kind: 'clusters', ...(clusters === null ? {} : { clusters }) }
    : colour === 'outlier'
      ? { kind: 'outliers' }
      : null;

export function MapPane(props: MapPaneProps) {
  const { index, about, place, images, labels, shown } = props;
  const { answer: positions, error } = useAnswer(mapOf, about.hasMap ? index : null);
  // what is looked at decides the colours, unless something was chosen
  const usual = useMemo(() => usualColour(images, labels), [images, labels.groups]);
  const colour =
    place.colour ?? (place.view === 'clusters' ? 'cluster' : place.view === 'outliers' ? 'outlier' : usual);
  const asked = useAsk(index, about.hasMap ? questionFor(colour, place.clusters) : null, 300);
  const colouring = useMemo(
    () => colouringOf(colour, images, labels, asked.answer),
    [colour, images, labels.groups, asked.answer],
  );
  if (!about.hasMap) return <LayOut folder={index.folder} images={about.images} />;
  if (error !== null) return <Failure error={error} />;
  if (positions === null) return <Loading what="the map" />;
  return (
    <>
      <div class="row">
        <label>
          Colours{' '}
          <select
            value={colour}
            onChange={(event) => go({ colour: event.currentTarget.value }, { replace: true })}
          >
            {Object.entries(COLOURS).map(([name, words]) => (
              <option key={name} value={name}>
                {words}
              </option>
            ))}
          </select>
        </label>
        {asked.isBusy && <span class="note">Computing…</span>}
      </div>
      {asked.error !== null && <Failure error={asked.error} />}
      <FindMap
        {...{ positions, images, colouring }}
        shown={shown?.rows ?? null}
        onFilter={(rows) =>
          setMarks(`${counted(rows.length, 'image')} on the map`, {
            lasso: rows.length > 0 ? new Set(rows) : null,
          })
        }
        onPick={(row) => search({ like: [row] })}
      />
      <Legend colour={colour} colouring={colouring} />
    </>
  );
}

function Legend({ colour, colouring }: { colour: Colour; colouring: Colouring }) {
  if (colouring === null) return colour === 'label' ? <p class="note">No image has a label yet.</p> : null;
  if (colouring.kind === 'scale')
    return (
      <p class="legend-scale">
        {colouring.low} <span class="ramp" /> {colouring.high}
      </p>
    );
  return (
    <ul class="legend" aria-label={`Colours: ${COLOURS[colour]}`}>
      {colouring.groups.map(({ name, color, rows }) => (
        <li key={name}>
          <span class="dot" style={{ background: `var(--${color})` }} /> {name}{' '}
          <span class="count">{rows.length}</span>
        </li>
      ))}
    </ul>
  );
}

/** An index without a map: what a map is, and a button. */
function LayOut({ folder, images }: { folder: string; images: number }) {
  const laying = useRequest('POST /api/find/map');
  const started = useTask(laying.answer);
  // also one that was started before this page was opened
  const running = tasksOf('index-images').find((task) => task.index === folder && task.state === 'running');
  const task = running ?? started;
  return (
    <div class="lay-out">
      <h2>A map of {counted(images, 'image')}</h2>
      <p>Each image becomes a point, and similar images lie near each other.</p>
      {task !== null && <TaskProgress task={task} />}
      {running === undefined && (
        <button
          type="button"
          class="main"
          disabled={laying.isBusy}
          onClick={() => void laying.ask({ body: { index: folder } })}
        >
          Lay out the map
        </button>
      )}
      {laying.error !== null && <Failure error={laying.error} />}
    </div>
  );
}
