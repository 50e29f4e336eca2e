/** An open index: what can be done with its images, and what came of it. */
import { useEffect, useState } from 'preact/hooks';
import type { FindAnswer, IndexAbout, LabelGroup } from '../api.ts';
import { route, setQuery } from '../router.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { Answer } from './answer.tsx';
import { ask, type Chosen, type Show } from './ask.ts';
import { type Label, Labels } from './labels.tsx';
import { MapView } from './map-view.tsx';
import { Question } from './question.tsx';
import { Search } from './search.tsx';

type View = 'search' | 'map' | 'clusters' | 'duplicates' | 'outliers' | 'subset' | 'labels';
const VIEWS: Readonly<Record<View, string>> = {
  search: 'Search',
  map: 'Map',
  clusters: 'Clusters',
  duplicates: 'Near-duplicates',
  outliers: 'Outliers',
  subset: 'Subset to label',
  labels: 'Selection and labels',
};

export function Explore({ index }: { index: string }) {
  const [about, setAbout] = useState<IndexAbout | null>(null);
  const [answer, setAnswer] = useState<FindAnswer | null>(null);
  const [title, setTitle] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [chosen, setChosen] = useState<Chosen>({ plus: new Set(), minus: new Set(), selected: new Set() });
  const [labels, setLabels] = useState<LabelGroup[]>([]);
  const [damaged, setDamaged] = useState(0);
  const view = (route.value.query.get('view') ?? 'search') as View;

  useEffect(() => {
    ask(index, { kind: 'about' }).then((found) => {
      if (found.kind === 'about') setAbout(found.about);
    }, setError);
    ask(index, { kind: 'labels' }).then(takeLabels, setError);
  }, [index]);

  const takeLabels = (found: FindAnswer): void => {
    if (found.kind !== 'labels') return;
    setLabels(found.groups);
    setDamaged(found.damaged);
  };
  const label: Label = async (rows, name) =>
    takeLabels(await ask(index, { kind: 'label', rows: [...rows], label: name }));

  const show: Show = (what, promise) => {
    setBusy(true);
    setError(null);
    promise
      .then((found) => {
        setTitle(what);
        setAnswer(found);
      }, setError)
      .finally(() => setBusy(false));
  };
  const toggle = (which: keyof Chosen, row: number): void => {
    const next = new Set(chosen[which]);
    if (!next.delete(row)) next.add(row);
    setChosen({ ...chosen, [which]: next });
  };
  const close = () => setQuery('index', null);
  if (about === null)
    return error === null ? (
      <Loading what="the index" />
    ) : (
      <Failure error={error}>
        <button type="button" onClick={close}>
          Choose another index
        </button>
      </Failure>
    );
  return (
    <>
      <p>
        {about.images} images of {about.source}, by {about.weights}.{' '}
        <button type="button" onClick={close}>
          Another index
        </button>
      </p>
      {about.skipped.count > 0 && (
        <details>
          <summary>{about.skipped.count} left out</summary>
          <ul>
            {about.skipped.first.map(({ path, reason }) => (
              <li key={path}>
                {path}: {reason}
              </li>
            ))}
          </ul>
        </details>
      )}
      {damaged > 0 && (
        <p role="alert">
          {damaged} lines of labels.jsonl in {index} can't be read and were left out; they are still in the
          file.
        </p>
      )}
      <nav aria-label="What to do with the images" class="row">
        {(Object.keys(VIEWS) as View[]).map((each) => (
          <button
            key={each}
            type="button"
            aria-pressed={each === view}
            onClick={() => {
              setAnswer(null);
              setQuery('view', each);
            }}
          >
            {VIEWS[each]}
          </button>
        ))}
      </nav>
      {view === 'search' && <Search index={index} chosen={chosen} setChosen={setChosen} show={show} />}
      {view === 'map' && (
        <MapView
          index={index}
          selected={chosen.selected}
          labels={labels}
          onSelect={(rows) => setChosen({ ...chosen, selected: new Set(rows) })}
        />
      )}
      {(view === 'clusters' || view === 'duplicates' || view === 'outliers' || view === 'subset') && (
        <Question kind={view} index={index} show={show} />
      )}
      {view === 'labels' && (
        <Labels
          index={index}
          selected={[...chosen.selected]}
          labels={labels}
          label={label}
          clear={() => setChosen({ ...chosen, selected: new Set() })}
          show={show}
        />
      )}
      {busy && <Loading what="the answer" />}
      {error !== null && <Failure error={error} />}
      {answer !== null && !busy && (
        <Answer
          title={title}
          answer={answer}
          chosen={chosen}
          toggle={toggle}
          select={(rows) => setChosen({ ...chosen, selected: new Set([...chosen.selected, ...rows]) })}
        />
      )}
    </>
  );
}
