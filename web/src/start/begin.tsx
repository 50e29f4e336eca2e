/** How long the training takes, and its beginning; always in view. */
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { StartPlan, StartRequest } from '../api.ts';
import { RequestError } from '../errors.ts';
import { runs } from '../live.ts';
import { href, navigate } from '../router.ts';
import { count, duration, lastPart, roughly } from '../ui/format.ts';
import { Form } from '../ui/form.tsx';
import { Failure } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';
import type { Trial } from './trial.tsx';

/** Among the other runs, named like the images. */
function folderFor(images: string, folders: readonly string[]): string {
  const ofRuns = folders.find((folder) => lastPart(folder) === 'runs') ?? `${folders[0] ?? '.'}/runs`;
  const name = lastPart(images)
    .replace(/[^\p{L}\p{N}._-]+/gu, '-')
    .replace(/^-+|-+$/g, '');
  return `${ofRuns}/${name || 'run'}`;
}

/** The path, or with the first number that makes it free. */
function freePath(path: string, taken: readonly string[]): string {
  const base = path.replace(/-\d+$/, '');
  for (let i = 1, free = path; ; free = `${base}-${++i}`) if (!taken.includes(free)) return free;
}

/** How long the training is, in words. */
const lengthOf = ({ seconds, steps, stepsPerEpoch, device }: StartPlan): string =>
  (seconds === null
    ? `${count(steps)} steps, ${count(stepsPerEpoch)} an epoch`
    : `As many steps as fit into ${duration(seconds)}, measured when it starts; ${count(stepsPerEpoch)} an epoch`) +
  `, on ${device}.`;

interface BeginProps {
  body: StartRequest;
  /** The studio's. */
  folders: readonly string[];
  plan: StartPlan;
  trial: Trial;
  /** The settings are those of the plan, and nothing is wrong with them. */
  isRight: boolean;
}

export function Begin({ body, folders, plan, trial, isRight }: BeginProps) {
  const taken = useSignal((runs.peek() ?? []).map(({ path }) => path));
  const output = useSignal(freePath(folderFor(body.images, folders), taken.peek()));
  const { ask, isBusy, error } = useRequest('POST /api/start/train');
  // a name that is taken is followed by one that may be free
  useEffect(() => {
    if (!(error instanceof RequestError && error.code === 'TAKEN')) return;
    taken.value = [...taken.value, output.value];
    output.value = freePath(output.value, taken.value);
  }, [error]);
  const begin = async (): Promise<void> => {
    const begun = await ask({ body: { ...body, output: output.value } });
    if (begun !== null) navigate(href('runs', begun.run));
  };
  const { result, isCurrent } = trial;
  const isMeasured = result !== null && isCurrent && plan.seconds === null;
  return (
    <section class="card begin" aria-label="Begin">
      <Form class="row" onSubmit={() => void begin()}>
        <label class="wide">
          Run folder{' '}
          <input
            type="text"
            class="path"
            required
            value={output.value}
            onInput={(event) => (output.value = event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="main" disabled={isBusy || !isRight}>
          {isBusy ? 'Starting…' : 'Start training'}
        </button>
        <button type="button" disabled={trial.isBusy || !isRight} onClick={trial.measure}>
          {trial.isBusy ? 'Measuring…' : 'Measure time and memory'}
        </button>
      </Form>
      <p class="note">
        {isMeasured && <strong>About {roughly(result.totalSeconds)}. </strong>}
        {lengthOf(plan)}
        <span class="more">
          {' '}
          It keeps running when this page or the studio is closed; stop it on the run’s page.
        </span>
      </p>
      {error !== null && <Failure error={error} />}
    </section>
  );
}
