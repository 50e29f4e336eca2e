/** Begins the training. */
import { useSignal } from '@preact/signals';
import type { StartRequest } from '../api.ts';
import { href, navigate } from '../router.ts';
import { Form } from '../ui/form.tsx';
import { Failure } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';

export function Begin({ body, folder }: { body: StartRequest; folder: string }) {
  const output = useSignal(`${folder}/runs/first`);
  const { ask, isBusy, error } = useRequest('POST /api/start/train');
  const begin = async (): Promise<void> => {
    const begun = await ask({ body: { ...body, output: output.value } });
    if (begun !== null) navigate(href('runs', begun.run));
  };
  return (
    <section class="card" aria-labelledby="begin">
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
        The training continues when this page or the studio is closed; the run’s page can stop it.
      </p>
      {error !== null && <Failure error={error} />}
    </section>
  );
}
