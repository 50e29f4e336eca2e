/** The settings of a training, each of which can be changed where it stands, and what can be done with them. */
import { useMemo, useRef } from 'preact/hooks';
import type { PresetChoice, StartRequest } from '../api.ts';
import { RequestError } from '../errors.ts';
import { route, setQuery } from '../router.ts';
import { counted } from '../ui/format.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';
import { Begin } from './begin.tsx';
import { Crops } from './crops.tsx';
import { PlanTable } from './plan-table.tsx';
import { TrialCard, useTrial } from './trial.tsx';

type Overrides = StartRequest['overrides'];

/** The settings that the address names. */
function overridesOf(text: string | null): Overrides {
  try {
    const value: unknown = JSON.parse(text ?? '{}');
    if (typeof value !== 'object' || value === null) return {};
    return Object.fromEntries(
      Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    );
  } catch {
    return {};
  }
}

const problemsOf = (error: unknown): readonly string[] =>
  error instanceof RequestError ? (error.problems.length > 0 ? error.problems : [error.message]) : [];

interface PlanningProps {
  images: string;
  /** The studio's. */
  folders: readonly string[];
}

export function Planning({ images, folders }: PlanningProps) {
  const { query } = route.value;
  const preset: PresetChoice = query.get('preset') === 'paper' ? 'paper' : 'auto';
  const set = query.get('set');
  const overrides = useMemo(() => overridesOf(set), [set]);
  const body: StartRequest = { images, preset, overrides };
  const { answer: plan, error, isBusy } = useRequest('POST /api/start/plan', { body }, { keep: true });
  // what is wrong is corrected where it stands, over what was right before
  const isRight = plan !== null && error === null && !isBusy;
  const right = useRef<StartRequest | null>(null);
  if (isRight) right.current = body;
  const trial = useTrial(body);
  const change = (name: string, value: string | null): void => {
    const next = { ...overridesOf(route.peek().query.get('set')) };
    if (value === null) delete next[name];
    else next[name] = value;
    setQuery('set', Object.keys(next).length === 0 ? null : JSON.stringify(next));
  };
  return (
    <>
      <section class="card" aria-labelledby="settings">
        <h2 id="settings">Settings</h2>
        <p class="row">
          <label>
            Preset{' '}
            <select
              value={preset}
              onChange={(event) =>
                setQuery('preset', event.currentTarget.value === 'auto' ? null : event.currentTarget.value)
              }
            >
              <option value="auto">auto: chosen for these images and this machine</option>
              <option value="paper">paper: the reference’s defaults</option>
            </select>
          </label>
          {Object.keys(overrides).length > 0 ? (
            <button type="button" onClick={() => setQuery('set', null)}>
              Reset {counted(Object.keys(overrides).length, 'change')}
            </button>
          ) : (
            <span class="note">Any value can be changed in the table.</span>
          )}
        </p>
        {error !== null && <Failure error={error} />}
        {plan === null ? (
          error === null && <Loading what="the settings" />
        ) : (
          <PlanTable {...{ plan, overrides }} problems={problemsOf(error)} onChange={change} />
        )}
      </section>
      {plan !== null && right.current !== null && (
        <>
          <Crops body={right.current} />
          <TrialCard trial={trial} />
          <Begin {...{ body, folders, plan, trial, isRight }} />
        </>
      )}
    </>
  );
}
