/** What is searched for: images of the index, one that was given, or a part of one. */
import { pictureOf, uploadedPictureOf } from '../api.ts';
import { Failure, Loading } from '../ui/parts.tsx';
import { PickImage } from '../ui/pick-image.tsx';
import { Thumb } from '../ui/thumb.tsx';
import { useRequest } from '../use-request.ts';
import type { ControlsProps } from './controls.tsx';
import { go, search } from './place.ts';
import { RegionImage } from './region.tsx';
import type { Images } from './shown.ts';

export function Query({ place, images }: ControlsProps) {
  const { like, unlike, upload, part } = place;
  const uploading = useRequest('POST /api/upload/look');
  const take = async (image: File): Promise<void> => {
    const kept = await uploading.ask({ body: image });
    if (kept !== null) search({ upload: kept.id });
  };
  const [only] = like;
  const single =
    upload !== null
      ? { src: uploadedPictureOf(upload, 640), name: 'the given image' }
      : like.length === 1 && unlike.length === 0
        ? { src: pictureOf(images.pathOf(only!), 640), name: images.nameOf(only!) }
        : null;
  return (
    <div class="query">
      <PickImage label="Search with an image" onImage={(image) => void take(image)} takesPaste={true} />
      {uploading.isBusy && <Loading what="the image" />}
      {uploading.error !== null && <Failure error={uploading.error} />}
      {single === null && like.length === 0 && (
        <p class="note">
          Or mark images with + (more like this) and − (less like this) and press Search below, or click a
          point on the map.
        </p>
      )}
      {single !== null && (
        <details class="asked" open={part !== null || upload !== null}>
          <summary>
            <img class="asked-image" src={single.src} alt="" /> Like {part === null ? '' : 'a part of '}
            {single.name}
          </summary>
          <RegionImage {...single} part={part} onSearch={(region) => go({ part: region, view: 'search' })} />
          {part !== null && (
            <button type="button" onClick={() => go({ part: null })}>
              Search by the whole image
            </button>
          )}
        </details>
      )}
      {single === null && like.length > 0 && (
        <div class="row asked">
          <Rows words="Like" rows={like} images={images} />
          {unlike.length > 0 && <Rows words="and unlike" rows={unlike} images={images} />}
        </div>
      )}
    </div>
  );
}

function Rows({ words, rows, images }: { words: string; rows: readonly number[]; images: Images }) {
  return (
    <>
      <span>{words}</span>
      <ul class="row asked-images">
        {rows.map((row) => (
          <li key={row}>
            <Thumb path={images.pathOf(row)} side={48} alt={images.nameOf(row)} />
          </li>
        ))}
      </ul>
    </>
  );
}
