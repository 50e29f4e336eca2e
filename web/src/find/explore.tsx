/** An open index: what can be done with its images, and the results. */
import { useState } from 'preact/hooks';
import type { FindAsk } from '../api.ts';
import { route, setQuery } from '../router.ts';
import { counted } from '../ui/format.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { useAnswer } from '../use-answer.ts';
import { useRequest } from '../use-request.ts';
import { Answer } from './answer.tsx';
import { askIndex, type Chosen, type ImageSearch, ofKind, type Show } from './ask.ts';
import { IndexMap } from './index-map.tsx';
import { Labels } from './labels.tsx';
import { Question } from './question.tsx';
import { Search } from './search.tsx';
import { useLabels } from './use-labels.ts';

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

/** How features are compared, in words. */
const COMPARED = {
  none: 'their features are compared as they are',
  center: 'their features are centred',
  pca: 'their features are whitened',
};

export function Explore({ index }: { index: string }) {
  const { answer: about, error } = useRequest(
    'POST /api/find/ask',
    { body: { index, ask: { kind: 'about' } } },
    { read: (found) => ofKind('about')(found).about },
  );
  const labels = useLabels(index);
  const [chosen, setChosen] = useState<Chosen>({ plus: new Set(), minus: new Set(), selected: new Set() });
  const view = (route.value.query.get('view') ?? 'search') as View;

  const found = useAnswer(
    async ({ title, question }: { title: string; question: FindAsk | ImageSearch }) => ({
      title,
      answer: await askIndex(index, question),
    }),
    null,
    { keep: true },
  );
  const show: Show = (title, question) => void found.ask({ title, question });
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
        {about.images} images of {about.source}, by {about.weights}; {COMPARED[about.whitening.mode]}.{' '}
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
      {labels.loadError !== null && <Failure error={labels.loadError} />}
      {labels.damaged > 0 && (
        <p role="alert">
          Left out {counted(labels.damaged, 'unreadable line')} of labels.jsonl in {index}; the file itself is
          unchanged.
        </p>
      )}
      <nav aria-label="What to do with the images" class="row">
        {(Object.keys(VIEWS) as View[]).map((each) => (
          <button
            key={each}
            type="button"
            aria-pressed={each === view}
            onClick={() => {
              found.clear();
              setQuery('view', each);
            }}
          >
            {VIEWS[each]}
          </button>
        ))}
      </nav>
      {view === 'search' && <Search chosen={chosen} setChosen={setChosen} show={show} />}
      {view === 'map' && (
        <IndexMap
          index={index}
          selected={chosen.selected}
          labels={labels.groups}
          onSelect={(rows) => setChosen({ ...chosen, selected: new Set(rows) })}
        />
      )}
      {(view === 'clusters' || view === 'duplicates' || view === 'outliers' || view === 'subset') && (
        <Question kind={view} about={about} show={show} />
      )}
      {view === 'labels' && (
        <Labels
          index={index}
          selected={[...chosen.selected]}
          labels={labels}
          clear={() => setChosen({ ...chosen, selected: new Set() })}
          show={show}
        />
      )}
      {found.isBusy && <Loading what="the answer" />}
      {found.error !== null && <Failure error={found.error} />}
      {found.answer !== null && !found.isBusy && (
        <Answer
          {...found.answer}
          chosen={chosen}
          toggle={toggle}
          select={(rows) => setChosen({ ...chosen, selected: new Set([...chosen.selected, ...rows]) })}
        />
      )}
    </>
  );
}
