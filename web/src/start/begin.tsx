/** Begins the training; always in view. */
import { useSignal } from '@preact/signals';
import type { StartRequest } from '../api.ts';
import { runs } from '../live.ts';
import { href, navigate } from '../router.ts';
import { Form } from '../ui/form.tsx';
import { Failure } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';

const nameOf = (path: string): string =>
  path
    .split(/[\\/]/)
    .filter((part) => part !== '')
    .at(-1) ?? 'run';

/** A folder for the run that no run has: among the other runs, named like the images. */
function freeFolder(images: string, folders: readonly string[], taken: readonly string[]): string {
  const ofRuns = folders.find((folder) => nameOf(folder) === 'runs') ?? `${folders[0] ?? '.'}/runs`;
  const name =
    nameOf(images)
      .replace(/[^\p{L}\p{N}._-]+/gu, '-')
      .replace(/^-+|-+$/g, '') || 'run';
  const isTaken = (path: string): boolean => taken.includes(path);
  for (let i = 1; ; i++) {
    const path = `${ofRuns}/${name}${i === 1 ? '' : `-${i}`}`;
    if (!isTaken(path)) return path;
  }
}

interface BeginProps {
  body: StartRequest;
  /** The studio's. */
  folders: readonly string[];
  /** How long the training is, in words. */
  length: string;
}

export function Begin({ body, folders, length }: BeginProps) {
  const output = useSignal(
    freeFolder(
      body.images,
      folders,
      (runs.peek() ?? []).map(({ path }) => path),
    ),
  );
  const { ask, isBusy, error } = useRequest('POST /api/start/train');
  const begin = async (): Promise<void> => {
    const begun = await ask({ body: { ...body, output: output.value } });
    if (begun !== null) navigate(href('runs', begun.run));
  };
  return (
    <section class="card begin" aria-labelledby="begin">
      <h2 id="begin">Begin</h2>
      <Form class="row" onSubmit={() => void begin()}>
        <label>
          Run folder{' '}
          <input
            type="text"
            class="path"
            required
            value={output.value}
            onInput={(event) => (output.value = event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="main" disabled={isBusy}>
          {isBusy ? 'Starting…' : 'Start training'}
        </button>
      </Form>
      <p class="note">
        {length} It continues when this page or the studio is closed; the run’s page can stop it.
      </p>
      {error !== null && <Failure error={error} />}
    </section>
  );
}
