/** How a run stands, in a few large words: progress, quality, health, speed. */
import type { ComponentChildren } from 'preact';
import type { RunDetails, RunNow, RunSummary } from '../api.ts';
import { count, roughly } from '../ui/format.ts';
import { qualityOf } from './scores.ts';

interface TileProps {
  name: string;
  title: string;
  value: ComponentChildren;
  children?: ComponentChildren;
}

function Tile({ name, title, value, children }: TileProps) {
  return (
    <div class="tile" data-tile={name}>
      <dt class="note">{title}</dt>
      <dd>
        <strong>{value}</strong>
        <span class="note">{children}</span>
      </dd>
    </div>
  );
}

/** What the collapse monitor's verdicts mean. */
const HEALTH: Readonly<Record<string, readonly [value: string, meaning: string]>> = {
  healthy: ['Healthy', 'Different images get different answers.'],
  early: ['Too early to tell', 'All images still get the same answer, as in every training at first.'],
  uniform: ['Collapsed', 'Every image gets the same flat answer: nothing is learned.'],
  constant: ['Collapsed', 'Every image gets the same single answer: nothing is learned.'],
  unknown: ['–', 'No step has been completed yet.'],
};

/** Share of the steps that are done, 0 to 1; null while not known. */
export const shareOf = ({ step, totalSteps }: Pick<RunSummary, 'step' | 'totalSteps'>): number | null =>
  step === null || totalSteps === null || totalSteps === 0 ? null : Math.min(1, step / totalSteps);

/** Seconds that the rest takes at the average pace so far; null while not known. */
export function secondsLeft({ totalSteps }: RunSummary, now: RunNow | undefined): number | null {
  const done = now?.last?.step ?? 0;
  if (totalSteps === null || now === undefined || done === 0 || now.seconds === 0) return null;
  return (Math.max(0, totalSteps - done) * now.seconds) / done;
}

interface TilesProps {
  run: RunSummary;
  now: RunNow | undefined;
  details: RunDetails | undefined;
}

function ProgressTile({ run, now }: TilesProps) {
  const step = Math.max(run.step ?? 0, now?.last?.step ?? 0);
  const share = shareOf({ ...run, step });
  const of = `${count(step)}${run.totalSteps === null ? '' : ` of ${count(run.totalSteps)}`} steps`;
  if (run.state === 'finished') {
    const took = now === undefined || now.seconds === 0 ? null : roughly(now.seconds);
    return (
      <Tile name="progress" title="Progress" value={took === null ? 'Finished' : `Finished in ${took}`}>
        {of}
      </Tile>
    );
  }
  const left = run.state === 'running' ? secondsLeft(run, now) : null;
  return (
    <Tile
      name="progress"
      title="Progress"
      value={
        <>
          {share === null ? '–' : `${Math.floor(100 * share)} %`}{' '}
          <progress value={step} max={run.totalSteps ?? 1} aria-label="Steps done" />
        </>
      }
    >
      {of}
      {left !== null && `, about ${roughly(left)} left`}
    </Tile>
  );
}

export function Tiles(props: TilesProps) {
  const { run, now, details } = props;
  const quality = details === undefined ? null : qualityOf(details);
  const [health, meaning] = HEALTH[now?.verdict?.kind ?? 'unknown'] ?? HEALTH['unknown']!;
  const { imagesPerSecond, dataWaitPercent } = now?.last?.values ?? {};
  const waits = dataWaitPercent !== undefined && dataWaitPercent >= 5;
  return (
    <dl class="tiles">
      <ProgressTile {...props} />
      {quality !== null && (
        <Tile name="quality" title={quality.title} value={quality.value}>
          {quality.notes.join(', ')}
        </Tile>
      )}
      <Tile
        name="health"
        title="Health"
        value={<span class={`health ${now?.verdict?.kind ?? ''}`}>{health}</span>}
      >
        {meaning}
      </Tile>
      {imagesPerSecond !== undefined && (
        <Tile name="speed" title="Speed" value={`${count(imagesPerSecond)} images/s`}>
          {waits
            ? `waits for images ${Math.round(dataWaitPercent)} % of the time: use more loader workers`
            : run.state === 'running'
              ? 'loading keeps up'
              : 'in its last steps'}
        </Tile>
      )}
    </dl>
  );
}
