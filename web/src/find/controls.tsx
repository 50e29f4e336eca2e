/** What is above the images of a view: its sliders, its query, its list of labels. */
import type { FindAnswer } from '../api.ts';
import { counted } from '../ui/format.ts';
import { Slider } from '../ui/slider.tsx';
import type { AnswerOf, OpenIndex } from './ask.ts';
import { Duplicates } from './duplicates.tsx';
import { LabelList } from './label-list.tsx';
import { go, type Place } from './place.ts';
import { Query } from './query.tsx';
import { FAR, type Images } from './shown.ts';
import type { IndexLabels } from './use-labels.ts';

export interface ControlsProps {
  index: OpenIndex;
  place: Place;
  images: Images;
  labels: IndexLabels;
  /** To the question of the view. */
  answer: FindAnswer | null;
}

export function Controls(props: ControlsProps) {
  switch (props.place.view) {
    case 'all':
      return null;
    case 'search':
      return <Query {...props} />;
    case 'clusters':
      return <Clusters {...props} />;
    case 'duplicates':
      return <Duplicates {...props} />;
    case 'outliers':
      return <Outliers {...props} />;
    case 'subset':
      return <Subset {...props} />;
    case 'labels':
      return <LabelList {...props} />;
  }
}

const groupsIn = (answer: FindAnswer | null): AnswerOf<'groups'> | null =>
  answer?.kind === 'groups' ? answer : null;

/** The most clusters of the slider; the address takes more. */
const MOST_CLUSTERS = 100;

function Clusters({ place, images, answer }: ControlsProps) {
  const found = groupsIn(answer)?.size ?? null;
  const value = place.clusters ?? found;
  return (
    <div class="row">
      <Slider
        label="Clusters"
        min={2}
        max={Math.max(2, Math.min(MOST_CLUSTERS, images.count))}
        step={1}
        value={value ?? 2}
        text={value === null ? '…' : String(value)}
        onChange={(clusters) => go({ clusters, group: null }, { replace: true })}
      />
      <button
        type="button"
        class="toggle"
        aria-pressed={place.clusters === null}
        title="The number that separates these images best"
        onClick={() => go({ clusters: null, group: null })}
      >
        Automatic
      </button>
    </div>
  );
}

function Outliers({ answer }: ControlsProps) {
  if (answer?.kind !== 'scores') return null;
  const far = answer.scores.filter((score) => score > FAR).length;
  return (
    <p class="note">
      The oddest first. The number says how much farther than usual an image is from the others, in standard
      deviations: from {FAR} on it counts as an outlier, which{' '}
      {far === 0 ? 'no image is' : `${counted(far, 'image')} ${far === 1 ? 'is' : 'are'}`}.
    </p>
  );
}

const CHOICES = {
  both: 'typical of each kind',
  diverse: 'as varied as possible',
  typical: 'most typical',
} as const;

function Subset({ place }: ControlsProps) {
  return (
    <div class="row">
      <Slider
        label="Images to label first"
        min={2}
        max={200}
        step={1}
        value={place.first}
        text={String(place.first)}
        onChange={(first) => go({ first }, { replace: true })}
      />
      <label>
        Which{' '}
        <select value={place.by} onChange={(event) => go({ by: event.currentTarget.value })}>
          {Object.entries(CHOICES).map(([by, words]) => (
            <option key={by} value={by}>
              {words}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}
