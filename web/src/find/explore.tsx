/** An open index: its images in a grid, its map beside them, what is marked below. */
import { useEffect, useLayoutEffect, useMemo } from 'preact/hooks';
import type { IndexAbout, IndexMade } from '../api.ts';
import { count, counted, lastPart } from '../ui/format.ts';
import { Icon } from '../ui/icon.tsx';
import { ModelActions } from '../ui/model-actions.tsx';
import { Failure, Loading } from '../ui/parts.tsx';
import { Slider } from '../ui/slider.tsx';
import { tabId, Tabs } from '../ui/tabs.tsx';
import { TaskProgress } from '../ui/task-progress.tsx';
import { tasksOf } from '../live.ts';
import { useAnswer } from '../use-answer.ts';
import { useRequest } from '../use-request.ts';
import { askIndex, isOutdated, ofKind, type OpenIndex, outdated, useAsk } from './ask.ts';
import { Controls } from './controls.tsx';
import { Large } from './large.tsx';
import { MapPane } from './map-pane.tsx';
import { marks, openMarks, select, setMarks, undoLast } from './marks.ts';
import { dropRows, freshPlace, go, type Place, SIDES, VIEWS } from './place.ts';
import { Results } from './results.tsx';
import { describe, filtered, type Images, imagesOf, questionOf, shownOf } from './shown.ts';
import { Tray } from './tray.tsx';
import { useLabels } from './use-labels.ts';

/** How features are compared, in words. */
const COMPARED = {
  none: 'compared as the model gives them',
  center: 'compared after their mean is subtracted',
  pca: 'compared after whitening',
};

/** What the tabs say of themselves. */
const HINTS: Readonly<Record<Place['view'], string>> = {
  all: '',
  search:
    'The most similar first. The percentage is the share of all pairs of images here that are less alike.',
  clusters: 'Groups of similar images, the largest first, each with its most typical images.',
  duplicates: 'In each group, the first image has the largest file: keep that one.',
  outliers: '',
  subset: 'Label these first: they represent the rest best. What is labelled already is taken into account.',
  labels: '',
};

/** Views with a slider: what it passes is not asked. */
const SLIDERS: ReadonlySet<Place['view']> = new Set(['clusters', 'duplicates', 'subset']);

/** @param index - As the address names it. */
export function Explore({ index: folder, place }: { index: string; place: Place }) {
  const given = { body: { index: folder, ask: { kind: 'about' as const } } };
  const about = useRequest('POST /api/find/ask', given, {
    read: (found) => ofKind('about')(found).about,
  });
  const index = useMemo<OpenIndex | null>(
    () =>
      about.answer === null ? null : { folder: about.answer.folder, generation: about.answer.generation },
    [about.answer],
  );
  // after `about`: names of another generation would be those of other rows
  const names = useAnswer(async (of: OpenIndex, signal) => {
    const found = ofKind('names')(await askIndex(of, { kind: 'names' }, signal));
    return imagesOf(found.root, found.names);
  }, index);
  const isOld = index !== null && outdated.value?.index === index;
  const error = about.error ?? names.error ?? (isOld ? outdated.value!.error : null);
  if (error !== null)
    return (
      <section class="card">
        <h1>Find and map</h1>
        <Failure error={error}>
          <p class="row">
            {isOutdated(error) && (
              <button
                type="button"
                class="main"
                disabled={about.isBusy}
                onClick={() => void about.ask(given)}
              >
                Open it again
              </button>
            )}
            <a href={freshPlace()}>All indexes</a>
          </p>
        </Failure>
      </section>
    );
  if (about.answer === null || index === null || names.answer === null)
    return (
      <section class="card">
        <h1>{lastPart(folder)}</h1>
        <Loading what="the index" />
      </section>
    );
  return <Opened index={index} about={about.answer} images={names.answer} place={place} />;
}

interface OpenedProps {
  index: OpenIndex;
  about: IndexAbout;
  images: Images;
  place: Place;
}

function Opened({ index, about, images, place }: OpenedProps) {
  const { folder, generation } = index;
  const wasOther = openMarks(folder, generation, images.count);
  useLayoutEffect(() => {
    if (wasOther) dropRows(place);
  }, [index]);
  const labels = useLabels(index);
  const question = questionOf(place);
  const { answer, error, isBusy } = useAsk(index, question, SLIDERS.has(place.view) ? 200 : 0);
  const of = [answer, place.view, place.label, place.group, labels.groups];
  const whole = useMemo(() => shownOf(place, images, labels, answer), of);
  const { lasso } = marks.value;
  const shown = useMemo(
    () => filtered(whole, place, marks.value, images),
    [whole, place.name, lasso, images],
  );
  const isAll = place.view === 'all' && lasso === null && place.name === '';

  useEffect(() => {
    const byKey = (event: KeyboardEvent): void => {
      const isUndo = (event.ctrlKey || event.metaKey) && event.key === 'z';
      if (!isUndo || (event.target as HTMLElement).closest('input') !== null) return;
      event.preventDefault();
      undoLast();
    };
    addEventListener('keydown', byKey);
    return () => removeEventListener('keydown', byKey);
  }, []);

  return (
    <>
      <Head about={about} />
      {labels.loadError !== null && <Failure error={labels.loadError} />}
      {labels.damaged > 0 && (
        <p role="alert" class="failure">
          Left out {counted(labels.damaged, 'unreadable line')} of labels.jsonl in {folder}; the file itself
          has not been changed.
        </p>
      )}
      <Tabs
        label="Views"
        tabs={VIEWS}
        current={place.view}
        onChange={(view) => go({ view: view === 'all' ? null : view, group: null, image: null })}
        panel="find-panel"
      />
      <div class={place.hasMap ? 'workspace' : 'workspace alone'}>
        <section
          class="pane"
          id="find-panel"
          role="tabpanel"
          aria-labelledby={tabId(place.view)}
          aria-busy={isBusy}
        >
          <Controls {...{ index, place, images, labels, answer }} />
          {HINTS[place.view] !== '' && question !== null && <p class="note">{HINTS[place.view]}</p>}
          <GridHead place={place} words={describe(shown)} rows={shown.rows} isBusy={isBusy} />
          {error !== null && <Failure error={error} />}
          <div class="pane-body">
            {(answer !== null || question === null) && (
              <Results
                name={JSON.stringify([
                  folder,
                  question ?? [place.view, place.label],
                  place.group,
                  place.name,
                  lasso?.size,
                ])}
                {...{ place, shown, images }}
                labelOf={labels.labelOf}
              />
            )}
          </div>
        </section>
        {place.hasMap && (
          <section class="pane map-pane" aria-label="Map">
            <MapPane {...{ index, about, place, images, labels }} shown={isAll || isBusy ? null : shown} />
          </section>
        )}
      </div>
      <Tray index={index} labels={labels} />
      {place.image !== null && place.image < images.count && (
        <Large {...{ index, about, images, labels, shown }} row={place.image} part={null} />
      )}
    </>
  );
}

function Head({ about }: { about: IndexAbout }) {
  const updating = useRequest('POST /api/find/index');
  const { folder, source, weights, numHeads, skipped } = about;
  const tasks = tasksOf('index-images').filter((task) => task.index === folder);
  const running = tasks.find((task) => task.state === 'running');
  const made = tasks.findLast((task) => task.state === 'done')?.result as IndexMade | undefined;
  const heads = numHeads === null ? {} : { numHeads };
  return (
    <header class="index-head">
      <div class="row">
        <h1>{lastPart(folder)}</h1>
        <a href={freshPlace()}>All indexes</a>
        <span class="push row">
          <span class="note">Its model, {lastPart(weights)}:</span>
          <ModelActions model={{ path: weights, heads: numHeads }} without="index" name={lastPart(weights)} />
        </span>
      </div>
      <details>
        <summary>
          {counted(about.images, 'image')} from {lastPart(source)}, by {lastPart(weights)}
          {skipped.count > 0 && `, ${count(skipped.count)} left out`}
        </summary>
        <dl>
          <dt>Images</dt>
          <dd>{source}</dd>
          <dt>Model</dt>
          <dd>{weights}</dd>
          <dt>Features</dt>
          <dd>
            {about.width} numbers, {COMPARED[about.whitening.mode]}: {about.whitening.reason}
          </dd>
        </dl>
        <p>
          <button
            type="button"
            disabled={updating.isBusy || running !== undefined}
            onClick={() => void updating.ask({ body: { weights, images: source, output: folder, ...heads } })}
          >
            Update the index
          </button>{' '}
          <span class="note">Adds new and changed images, and removes those that are gone.</span>
        </p>
        {updating.error !== null && <Failure error={updating.error} />}
        {skipped.count > 0 && (
          <ul class="skipped">
            {skipped.first.map(({ path, reason }) => (
              <li key={path}>
                {path}: {reason}
              </li>
            ))}
          </ul>
        )}
      </details>
      {running === undefined && made !== undefined && made.notes.length > 0 && (
        <div class="note made" role="status">
          <ul>
            {made.notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </div>
      )}
      {running !== undefined && about.hasMap && <TaskProgress task={running} />}
    </header>
  );
}

interface GridHeadProps {
  place: Place;
  words: string;
  rows: readonly number[];
  isBusy: boolean;
}

function GridHead({ place, words, rows, isBusy }: GridHeadProps) {
  const { lasso } = marks.value;
  return (
    <div class="row grid-head">
      <span role="status">{isBusy ? 'Computing…' : words}</span>
      {lasso !== null && (
        <button type="button" class="chip" onClick={() => setMarks('map filter removed', { lasso: null })}>
          {counted(lasso.size, 'image')} on the map <Icon name="cross" />
          <span class="hidden">: show all again</span>
        </button>
      )}
      {place.group !== null && (
        <button type="button" class="chip" onClick={() => go({ group: null })}>
          Group {place.group + 1} <Icon name="cross" />
          <span class="hidden">: show all groups again</span>
        </button>
      )}
      <label>
        <span class="hidden">Name contains</span>
        <input
          type="search"
          placeholder="name contains…"
          value={place.name}
          onInput={(event) => go({ name: event.currentTarget.value }, { replace: true })}
        />
      </label>
      <button
        type="button"
        disabled={rows.length === 0}
        onClick={() => select(rows, `${counted(rows.length, 'image')} selected`)}
      >
        Select these
      </button>
      <Slider
        label="Size"
        min={SIDES.least}
        max={SIDES.most}
        step={4}
        value={place.side}
        text={`${place.side} px`}
        onChange={(side) => go({ side }, { replace: true })}
      />
      <button
        type="button"
        class="toggle"
        aria-pressed={place.hasMap}
        onClick={() => go({ map: place.hasMap ? 'off' : null })}
      >
        Map
      </button>
    </div>
  );
}
