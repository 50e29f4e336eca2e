/** The map of an index: fetched, or laid out first. */
import { useEffect, useState } from 'preact/hooks';
import { type LabelGroup, pictureOf, request } from '../api.ts';
import { keepTask, tasks } from '../live.ts';
import { Failure, Loading, TaskProgressBar } from '../ui/parts.tsx';
import { ask } from './ask.ts';
import { FindMap } from './map.tsx';

interface MapViewProps {
  index: string;
  selected: ReadonlySet<number>;
  labels: LabelGroup[];
  onSelect: (rows: number[]) => void;
}

export function MapView({ index, selected, labels, onSelect }: MapViewProps) {
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
        labels={labels}
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
