import { pictureOf } from '../api.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { PickImage } from '../ui/pick-image.tsx';
import { useRequest } from '../use-request.ts';
import { type Chosen, uploadText } from './answer.ts';
import { FolderImages, type FolderPlace } from './folder-images.tsx';

/** A few images of the studio's folders, to begin with. */
function Samples({ onChoose }: { onChoose: (path: string) => void }) {
  const { answer: samples } = useRequest('GET /api/look/samples', {});
  if (samples === null || samples.length === 0) return null;
  return (
    <>
      <p class="note">Or try one of these:</p>
      <ul class="heads samples" aria-label="Sample images">
        {samples.map(({ path, name }) => (
          <li key={path}>
            <button type="button" aria-label={name} title={name} onClick={() => onChoose(path)}>
              <img src={pictureOf(path, 256)} alt="" width="104" height="104" loading="lazy" />
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

/** Where one of the two images comes from. */
export function ImageChoice(props: {
  title: string;
  chosen: Chosen | null;
  isFirst: boolean;
  /** Where in the studio's folders it is looked for; null: nowhere yet. */
  place: FolderPlace | null;
  onMove: (place: FolderPlace) => void;
  /** With how the address names it; null: none. */
  onChoose: (image: string | null) => void;
}) {
  const { title, chosen, isFirst, place, onMove, onChoose } = props;
  const { ask, isBusy, error } = useRequest('POST /api/upload/look');
  const onImage = async (file: File): Promise<void> => {
    const kept = await ask({ body: file });
    if (kept === null) return;
    onChoose(uploadText(kept.id, file.name || 'pasted image'));
  };
  return (
    <section class="card" aria-label={title}>
      <h2>{title}</h2>
      <PickImage label="Choose a file" onImage={(file) => void onImage(file)} takesPaste={isFirst} />
      {isBusy && <Loading what="the image" />}
      {error !== null && <Failure error={error} />}
      {chosen === null && isFirst && <Samples onChoose={onChoose} />}
      <details open={place !== null}>
        <summary>From the studio’s folders</summary>
        <FolderImages place={place ?? { path: '', from: 0 }} onMove={onMove} onChoose={onChoose} />
      </details>
      {chosen !== null && (
        <p class="row">
          <span class="name">{chosen.name}</span>
          <button type="button" onClick={() => onChoose(null)}>
            Remove
          </button>
        </p>
      )}
    </section>
  );
}
