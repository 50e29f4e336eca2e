import { useSignal } from '@preact/signals';
import { pictureOf, type StartRequest } from '../api.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { useRequest } from '../use-request.ts';

interface CropImagesProps {
  kind: 'global' | 'local';
  /** WebP in base64. */
  crops: readonly string[];
}

const CropImages = ({ kind, crops }: CropImagesProps) => (
  <>
    {crops.map((crop, i) => (
      <img key={i} class={kind} src={`data:image/webp;base64,${crop}`} alt={`${kind} crop ${i + 1}`} />
    ))}
  </>
);

/** What the loader makes of a few images with these settings. */
export function Crops({ body }: { body: StartRequest }) {
  const seed = useSignal(0);
  const { answer: samples, error } = useRequest(
    'POST /api/start/crops',
    { body: { ...body, seed: seed.value } },
    { keep: true },
  );
  return (
    <section class="card" aria-labelledby="crops">
      <h2 id="crops">What training would see</h2>
      <p class="row">
        <button type="button" onClick={() => seed.value++}>
          Other images
        </button>
        <span class="note">
          Made by the loader with these settings: the original, two global crops, and the local crops.
        </span>
      </p>
      {error !== null && <Failure error={error} />}
      {samples === null ? (
        error === null && <Loading what="crops" />
      ) : (
        <ul class="crops">
          {samples.images.map(({ path, globals, locals }) => (
            <li key={path}>
              <img src={pictureOf(path, 128)} alt={`the image ${path}`} />
              <CropImages kind="global" crops={globals} />
              <CropImages kind="local" crops={locals} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
