/** Find and map: an index of images, searched, sorted and labelled. */
import { useEffect, useRef, useState } from 'preact/hooks';
import {
  addressOf,
  type FindAnswer,
  type FindAsk,
  type FoundImage,
  type IndexAbout,
  pictureOf,
  request,
  upload,
} from '../api.ts';
import { keepTask, runs, tasks } from '../live.ts';
import { route, setQuery } from '../router.ts';
import { Failure, Loading, TaskProgressBar } from '../ui/parts.tsx';
import './find.css';
import { FindMap } from './find-map.tsx';

/** A text field of a form. */
function textOf(form: HTMLFormElement, name: string): string {
  const value = new FormData(form).get(name);
  return typeof value === 'string' ? value : '';
}

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

export default function Find() {
  const index = route.value.query.get('index');
  return (
    <div class="find">
      <h1>Find and map</h1>
      {index === null ? <Choose /> : <Explore key={index} index={index} />}
    </div>
  );
}

/** Opens an index or makes one. */
function Choose() {
  const [task, setTask] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);
  const running = task === null ? undefined : tasks.value.get(task);
  const made = running?.state === 'done' ? (running.result as { index: string }).index : null;
  useEffect(() => {
    if (made !== null) setQuery('index', made);
  }, [made]);
  return (
    <>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setQuery('index', textOf(event.currentTarget, 'index'));
        }}
      >
        <h2>Open an index</h2>
        <label>
          Folder of the index
          <input name="index" required />
        </label>
        <button type="submit">Open</button>
      </form>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const form = event.currentTarget;
          const [weights, images, output] = ['weights', 'images', 'output'].map((name) => textOf(form, name));
          setError(null);
          request('POST /api/find/index', {
            body: { weights: weights!, images: images!, output: output! },
          }).then((started) => {
            keepTask(started);
            setTask(started.id);
          }, setError);
        }}
      >
        <h2>Make an index, or bring one up to date</h2>
        <label>
          Model: a run, a checkpoint or a file of weights
          <input name="weights" required list="find-runs" />
        </label>
        <datalist id="find-runs">
          {(runs.value ?? []).map((run) => (
            <option key={run.id} value={run.path} />
          ))}
        </datalist>
        <label>
          Folder of images
          <input name="images" required />
        </label>
        <label>
          Folder for the index
          <input name="output" required />
        </label>
        <button type="submit">Make it</button>
        {running !== undefined && <TaskProgressBar task={running} />}
        {error !== null && <Failure error={error} />}
      </form>
    </>
  );
}

const ask = async (index: string, question: FindAsk): Promise<FindAnswer> =>
  request('POST /api/find/ask', { body: { index, ask: question } });

interface Chosen {
  plus: ReadonlySet<number>;
  minus: ReadonlySet<number>;
  selected: ReadonlySet<number>;
}

function Explore({ index }: { index: string }) {
  const [about, setAbout] = useState<IndexAbout | null>(null);
  const [answer, setAnswer] = useState<FindAnswer | null>(null);
  const [title, setTitle] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [chosen, setChosen] = useState<Chosen>({ plus: new Set(), minus: new Set(), selected: new Set() });
  const [labels, setLabels] = useState<ReadonlyMap<number, string>>(new Map());
  const view = (route.value.query.get('view') ?? 'search') as View;

  useEffect(() => {
    ask(index, { kind: 'about' }).then((found) => {
      if (found.kind === 'about') setAbout(found.about);
    }, setError);
  }, [index]);

  const show = (what: string, promise: Promise<FindAnswer>): void => {
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
  const numberOf = (form: HTMLFormElement, name: string): number => Number(new FormData(form).get(name));
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
          onSelect={(rows) => setChosen({ ...chosen, selected: new Set(rows) })}
        />
      )}
      {view === 'clusters' && (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            const clusters = numberOf(event.currentTarget, 'clusters');
            show('Clusters', ask(index, { kind: 'clusters', ...(clusters > 0 ? { clusters } : {}) }));
          }}
        >
          <label>
            How many; 0 chooses by the silhouette
            <input name="clusters" type="number" min="0" max="1000" value="0" />
          </label>
          <button type="submit">Find clusters</button>
        </form>
      )}
      {view === 'duplicates' && (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            const threshold = numberOf(event.currentTarget, 'threshold');
            show('Near-duplicates', ask(index, { kind: 'duplicates', threshold }));
          }}
        >
          <label>
            Similarity above which two images count as the same
            <input name="threshold" type="number" min="0.01" max="1" step="any" value="0.95" />
          </label>
          <button type="submit">Find near-duplicates</button>
        </form>
      )}
      {view === 'outliers' && (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            show('Outliers', ask(index, { kind: 'outliers', top: numberOf(event.currentTarget, 'top') }));
          }}
        >
          <label>
            How many
            <input name="top" type="number" min="1" max="1000" value="40" />
          </label>
          <button type="submit">Find outliers</button>
        </form>
      )}
      {view === 'subset' && (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            const form = event.currentTarget;
            const by = new FormData(form).get('by') as 'diverse' | 'typical' | 'both';
            const labelled = [...labels.keys()];
            show(
              'Label these first',
              ask(index, { kind: 'select', size: numberOf(form, 'size'), by, labelled }),
            );
          }}
        >
          <label>
            How many
            <input name="size" type="number" min="1" max="1000" value="20" />
          </label>
          <label>
            Chosen to be
            <select name="by">
              <option value="both">one of each kind, and typical of it</option>
              <option value="diverse">diverse: covering everything</option>
              <option value="typical">typical: from the thick of it</option>
            </select>
          </label>
          <button type="submit">Choose</button>
        </form>
      )}
      {view === 'labels' && (
        <Labels
          index={index}
          selected={[...chosen.selected]}
          labels={labels}
          setLabels={setLabels}
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

interface SearchProps {
  index: string;
  chosen: Chosen;
  setChosen: (chosen: Chosen) => void;
  show: (what: string, promise: Promise<FindAnswer>) => void;
}

/** By the images chosen with plus and minus, or by one that is dropped, pasted or picked, and a part of it. */
function Search({ index, chosen, setChosen, show }: SearchProps) {
  const [file, setFile] = useState<{ blob: Blob; address: string } | null>(null);
  const [region, setRegion] = useState<[number, number, number, number] | null>(null);
  const from = useRef<[number, number] | null>(null);
  const take = (blob: Blob | null | undefined): void => {
    if (blob === null || blob === undefined) return;
    setRegion(null);
    setFile({ blob, address: URL.createObjectURL(blob) });
    show('Like the image given', upload(addressOf('/api/upload/find', { index, top: 40 }), blob));
  };
  useEffect(() => () => void (file !== null && URL.revokeObjectURL(file.address)), [file]);
  useEffect(() => {
    const paste = (event: ClipboardEvent): void => take(event.clipboardData?.files[0]);
    addEventListener('paste', paste);
    return () => removeEventListener('paste', paste);
  }, [index]);
  const shareOf = (event: PointerEvent & { currentTarget: EventTarget & Element }): [number, number] => {
    const { left, top, width, height } = event.currentTarget.getBoundingClientRect();
    const clamp = (value: number): number => Math.min(1, Math.max(0, value));
    return [clamp((event.clientX - left) / width), clamp((event.clientY - top) / height)];
  };
  return (
    <section aria-label="Search">
      <div
        class="drop"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          take(event.dataTransfer?.files[0]);
        }}
      >
        <label>
          An image to look for: drop it here, paste it, or pick it
          <input type="file" accept="image/*" onChange={(event) => take(event.currentTarget.files?.[0])} />
        </label>
        {file !== null && (
          <>
            <svg
              class="query"
              viewBox="0 0 1 1"
              preserveAspectRatio="none"
              role="img"
              aria-label="The image given; drag on it to look for a part"
              style={{ width: '16rem', height: '16rem', touchAction: 'none' }}
              onPointerDown={(event) => {
                event.currentTarget.setPointerCapture(event.pointerId);
                from.current = shareOf(event);
              }}
              onPointerMove={(event) => {
                if (from.current === null) return;
                const [x, y] = shareOf(event);
                const [x0, y0] = from.current;
                setRegion([Math.min(x, x0), Math.min(y, y0), Math.abs(x - x0), Math.abs(y - y0)]);
              }}
              onPointerUp={() => {
                from.current = null;
                if (region === null || region[2] < 0.02 || region[3] < 0.02) return;
                const address = addressOf('/api/upload/find', { index, top: 40, region: region.join(',') });
                show('Like the part of the image', upload(address, file.blob));
              }}
            >
              <image href={file.address} width="1" height="1" preserveAspectRatio="none" />
              {region !== null && (
                <rect
                  {...{ x: region[0], y: region[1], width: region[2], height: region[3] }}
                  fill="none"
                  stroke="red"
                  stroke-width="0.01"
                />
              )}
            </svg>
          </>
        )}
      </div>
      <div class="row">
        <span>
          {chosen.plus.size} images to be like, {chosen.minus.size} to be unlike
        </span>
        <button
          type="button"
          disabled={chosen.plus.size === 0}
          onClick={() =>
            show(
              'Like the images chosen',
              ask(index, { kind: 'search', plus: [...chosen.plus], minus: [...chosen.minus], top: 40 }),
            )
          }
        >
          Search by these
        </button>
        <button type="button" onClick={() => setChosen({ ...chosen, plus: new Set(), minus: new Set() })}>
          Forget these
        </button>
      </div>
    </section>
  );
}

interface MapViewProps {
  index: string;
  selected: ReadonlySet<number>;
  onSelect: (rows: number[]) => void;
}

function MapView({ index, selected, onSelect }: MapViewProps) {
  const [positions, setPositions] = useState<Float32Array | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [task, setTask] = useState<string | null>(null);
  const running = task === null ? undefined : tasks.value.get(task);
  const isDone = running?.state === 'done';
  useEffect(() => {
    setError(null);
    request('GET /api/find/map', { query: { index } }).then(
      (bytes) => setPositions(new Float32Array(bytes.slice().buffer)),
      setError,
    );
  }, [index, isDone]);
  if (positions !== null)
    return (
      <FindMap
        positions={positions}
        selected={selected}
        onSelect={onSelect}
        picturesOf={async (rows) => {
          const found = await ask(index, { kind: 'images', rows });
          if (found.kind !== 'images') return [];
          return found.images.map(({ row, path, name }) => ({ row, address: pictureOf(path, 128), name }));
        }}
      />
    );
  if (running !== undefined && !isDone) return <TaskProgressBar task={running} />;
  if (error === null) return <Loading what="the map" />;
  return (
    <Failure error={error}>
      <button
        type="button"
        onClick={() =>
          void request('POST /api/find/map', { body: { index } }).then((started) => {
            keepTask(started);
            setTask(started.id);
          }, setError)
        }
      >
        Lay out the map
      </button>
    </Failure>
  );
}

interface LabelsProps {
  index: string;
  selected: number[];
  labels: ReadonlyMap<number, string>;
  setLabels: (labels: ReadonlyMap<number, string>) => void;
  clear: () => void;
  show: (what: string, promise: Promise<FindAnswer>) => void;
}

/** Labels the selection, asks for proposals, accepts them, and exports. */
function Labels({ index, selected, labels, setLabels, clear, show }: LabelsProps) {
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

interface AnswerProps {
  title: string;
  answer: FindAnswer;
  chosen: Chosen;
  toggle: (which: keyof Chosen, row: number) => void;
  select: (rows: number[]) => void;
}

function Answer({ title, answer, chosen, toggle, select }: AnswerProps) {
  const shared = { chosen, toggle };
  if (answer.kind === 'images')
    return (
      <section aria-label={title}>
        <h2>{title}</h2>
        <button type="button" onClick={() => select(answer.images.map(({ row }) => row))}>
          Select all of these
        </button>
        <Pictures images={answer.images} label={title} {...shared} />
      </section>
    );
  if (answer.kind !== 'groups') return null;
  return (
    <section aria-label={title}>
      <h2>
        {title}: {answer.groups.length}
      </h2>
      {answer.groups.slice(0, 100).map(({ rows, images }, i) => (
        <section key={rows[0]} class="group" aria-label={`Group ${i + 1}`}>
          <h3>
            {i + 1}: {rows.length} images
          </h3>
          <button type="button" onClick={() => select(rows)}>
            Select group {i + 1}
          </button>
          <Pictures images={images.slice(0, 20)} label={`Group ${i + 1}`} {...shared} />
        </section>
      ))}
    </section>
  );
}

interface PicturesProps extends Pick<AnswerProps, 'chosen' | 'toggle'> {
  images: readonly FoundImage[];
  label: string;
}

function Pictures({ images, label, chosen, toggle }: PicturesProps) {
  return (
    <ul class="pictures" aria-label={`${label}: images`}>
      {images.map(({ row, path, name, score }) => (
        <li key={row}>
          <img src={pictureOf(path)} alt={name} loading="lazy" />
          <span class="name">
            {name}
            {score !== null && ` ${score.toFixed(3)}`}
          </span>
          <span class="row">
            <button
              type="button"
              aria-pressed={chosen.plus.has(row)}
              aria-label={`More like ${name}`}
              onClick={() => toggle('plus', row)}
            >
              +
            </button>
            <button
              type="button"
              aria-pressed={chosen.minus.has(row)}
              aria-label={`Less like ${name}`}
              onClick={() => toggle('minus', row)}
            >
              −
            </button>
            <button
              type="button"
              aria-pressed={chosen.selected.has(row)}
              aria-label={`Select ${name}`}
              onClick={() => toggle('selected', row)}
            >
              ✓
            </button>
          </span>
        </li>
      ))}
    </ul>
  );
}
