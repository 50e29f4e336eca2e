/** The map of an index: fetched, or laid out first. */
import { type LabelGroup, pictureOf } from '../api.ts';
import { useTask } from '../live.ts';
import { lazy } from '../ui/lazy.tsx';
import { Failure, Loading } from '../ui/parts.tsx';
import { TaskProgress } from '../ui/task-progress.tsx';
import { useRequest } from '../use-request.ts';
import { askIndex, ofKind } from './ask.ts';

/** deck.gl is larger than the rest of the page: it is loaded when a map is opened. */
const FindMap = lazy('the map', async () => (await import('./map.tsx')).FindMap);

interface IndexMapProps {
  index: string;
  selected: ReadonlySet<number>;
  labels: LabelGroup[];
  onSelect: (rows: number[]) => void;
}

export function IndexMap({ index, selected, labels, onSelect }: IndexMapProps) {
  const laying = useRequest('POST /api/find/map');
  const task = useTask(laying.answer);
  const isReady = task === null || task.state === 'done';
  const { answer: positions, error } = useRequest(
    'GET /api/find/map',
    isReady ? { query: { index } } : null,
    { read: (bytes) => new Float32Array(bytes.slice().buffer) },
  );
  if (positions !== null)
    return (
      <FindMap
        positions={positions}
        selected={selected}
        labels={labels}
        onSelect={onSelect}
        picturesOf={async (rows, signal) => {
          const { images } = ofKind('images')(await askIndex(index, { kind: 'images', rows }, signal));
          return images.map(({ row, path, name }) => ({ row, address: pictureOf(path, 128), name }));
        }}
      />
    );
  if (task !== null && task.state !== 'done') return <TaskProgress task={task} />;
  if (error === null) return <Loading what="the map" />;
  return (
    <Failure error={laying.error ?? error}>
      <button type="button" onClick={() => void laying.ask({ body: { index } })}>
        Lay out the map
      </button>
    </Failure>
  );
}
