import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { type CropSamples, pictureOf, request, type StartRequest } from '../api.ts';
import { Failure, Loading } from '../ui/parts.tsx';

export function Crops({ body }: { body: StartRequest }) {
  const seed = useSignal(0);
  const samples = useSignal<CropSamples | null>(null);
  const failure = useSignal<unknown>(null);
  useEffect(() => {
    const controller = new AbortController();
    failure.value = null;
    request('POST /api/start/crops', { body: { ...body, seed: seed.value }, signal: controller.signal }).then(
      (found) => (samples.value = found),
      (error: unknown) => {
        if (!controller.signal.aborted) failure.value = error;
      },
    );
    return () => controller.abort();
  }, [body, seed.value]);
  return (
    <section class="card" aria-labelledby="crops">
      <h2 id="crops">What training would see</h2>
      <p class="row">
        <button type="button" onClick={() => seed.value++}>
          Other images
        </button>
        <span class="note">
          The loader’s own crops with these settings: the original, two global crops, the local ones.
        </span>
      </p>
      {failure.value !== null && <Failure error={failure.value} />}
      {samples.value === null ? (
        failure.value === null && <Loading what="crops" />
      ) : (
        <ul class="crops">
          {samples.value.images.map(({ path, globals, locals }) => (
            <li key={path}>
              <img src={pictureOf(path, 128)} alt={`the image ${path}`} />
              {globals.map((crop, i) => (
                <img
                  key={`g${i}`}
                  class="global"
                  src={`data:image/webp;base64,${crop}`}
                  alt={`global crop ${i + 1}`}
                />
              ))}
              {locals.map((crop, i) => (
                <img
                  key={`l${i}`}
                  class="local"
                  src={`data:image/webp;base64,${crop}`}
                  alt={`local crop ${i + 1}`}
                />
              ))}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
