import { Failure, Loading } from '../ui/parts.tsx';
import { PickImage } from '../ui/pick-image.tsx';
import { useRequest } from '../use-request.ts';
import type { Chosen } from './answer.ts';
import { FolderImages } from './folder-images.tsx';

/** Where one of the two images comes from. */
export function ImageChoice(props: {
  title: string;
  chosen: Chosen | null;
  isFirst: boolean;
  onChoose: (chosen: Chosen | null) => void;
}) {
  const { title, chosen, isFirst, onChoose } = props;
  const { ask, isBusy, error } = useRequest('POST /api/upload/look');
  const onImage = async (file: File): Promise<void> => {
    const kept = await ask({ body: file });
    if (kept !== null) onChoose({ source: { upload: kept.id }, name: file.name || 'pasted image' });
  };
  return (
    <section class="card" aria-label={title}>
      <h2>{title}</h2>
      <PickImage label="Choose a file" onImage={(file) => void onImage(file)} takesPaste={isFirst} />
      {isBusy && <Loading what="the image" />}
      {error !== null && <Failure error={error} />}
      <details>
        <summary>From the studio’s folders</summary>
        <FolderImages onChoose={(path, name) => onChoose({ source: { path }, name })} />
      </details>
      {chosen !== null && (
        <p class="row">
          <span>{chosen.name}</span>
          <button type="button" onClick={() => onChoose(null)}>
            Remove
          </button>
        </p>
      )}
    </section>
  );
}
