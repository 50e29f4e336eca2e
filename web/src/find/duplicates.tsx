/** Near-duplicates: a slider, how many images it counts as duplicates, and the pairs on both sides of it. */
import { useMemo } from 'preact/hooks';
import { count, counted } from '../ui/format.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { Slider } from '../ui/slider.tsx';
import { Thumb } from '../ui/thumb.tsx';
import { useAsk } from './ask.ts';
import type { ControlsProps } from './controls.tsx';
import { go } from './place.ts';
import type { Images } from './shown.ts';

/** Pairs that are shown on each side of the slider. */
const EXAMPLES = 3;

/** Copies may differ by a rounding error: a slider at its end still finds them. */
const MOST = 0.99999;

/** How many of falling numbers are at least a value. */
export function countFrom(falling: readonly number[], value: number): number {
  let [low, high] = [0, falling.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (falling[middle]! >= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function Duplicates({ index, place, images }: ControlsProps) {
  const { answer, error } = useAsk(index, { kind: 'pairs' });
  const pairs = answer?.kind === 'pairs' ? answer : null;
  const threshold = place.threshold ?? pairs?.threshold ?? null;
  const within = pairs === null || threshold === null ? 0 : countFrom(pairs.similarities, threshold);
  const involved = useMemo(() => new Set(pairs?.rows.slice(0, 2 * within)).size, [pairs, within]);
  if (error !== null) return <Failure error={error} />;
  if (pairs === null || threshold === null) return <Loading what="similar pairs" />;
  // from what is still a little alike to what is the same
  const least = Math.min(pairs.similarities.at(-1) ?? 0.5, pairs.threshold - 0.01);
  const isMore = within === pairs.similarities.length && !pairs.isAll;
  return (
    <div class="duplicates">
      <div class="row">
        <Slider
          label="Similarity threshold"
          min={least}
          max={MOST}
          step="any"
          value={threshold}
          text={threshold.toFixed(3)}
          onChange={(value) =>
            go({ threshold: Math.min(1, Number(value.toFixed(6))), group: null }, { replace: true })
          }
        />
        <button
          type="button"
          class="toggle"
          aria-pressed={place.threshold === null}
          title="Chosen by how similar the images of this index usually are"
          onClick={() => go({ threshold: null, group: null })}
        >
          Automatic
        </button>
        <output class="live">
          {isMore ? 'more than ' : ''}
          {counted(within, 'pair')}, {count(involved)} of {counted(images.count, 'image')}
        </output>
      </div>
      <div class="row examples">
        <Examples
          title="Just similar enough"
          from={Math.max(0, within - EXAMPLES)}
          to={within}
          {...{ pairs, images }}
        />
        <Examples
          title="Just not similar enough"
          from={within}
          to={within + EXAMPLES}
          {...{ pairs, images }}
        />
      </div>
    </div>
  );
}

interface ExamplesProps {
  title: string;
  pairs: { rows: number[]; similarities: number[] };
  from: number;
  to: number;
  images: Images;
}

function Examples({ title, pairs, from, to, images }: ExamplesProps) {
  const some = pairs.similarities.slice(from, to);
  return (
    <figure>
      <figcaption class="note">{title}</figcaption>
      <ul class="row">
        {some.map((similarity, i) => {
          const [a, b] = [pairs.rows[2 * (from + i)]!, pairs.rows[2 * (from + i) + 1]!];
          return (
            <li
              key={`${a} ${b}`}
              title={`${images.nameOf(a)} and ${images.nameOf(b)}: ${similarity.toFixed(4)}`}
            >
              {[a, b].map((row) => (
                <button
                  key={row}
                  type="button"
                  class="picture"
                  aria-label={`Open ${images.nameOf(row)}`}
                  onClick={() => go({ image: row })}
                >
                  <Thumb path={images.pathOf(row)} side={56} alt="" />
                </button>
              ))}
            </li>
          );
        })}
        {some.length === 0 && <li class="note">none</li>}
      </ul>
    </figure>
  );
}
