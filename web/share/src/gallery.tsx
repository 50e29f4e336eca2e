/** The images that were exported with the model: to try it on, and to find neighbours among. */
import { type FeatureTransform, NO_TRANSFORM } from '../../../src/plain/feature-transform.ts';
import type { GalleryImage, WebManifest } from '../../../src/plain/web-manifest.ts';
import { load } from './load.ts';

export interface Gallery {
  images: readonly GalleryImage[];
  /** (count, D), rows of length 1, transformed. */
  features: Float32Array;
  /** What a query goes through before it is compared with them. */
  transform: FeatureTransform;
}

async function loadTransform({ model: { embedDim }, gallery }: WebManifest): Promise<FeatureTransform> {
  const about = gallery?.transform ?? null;
  if (about === null) return NO_TRANSFORM;
  const values = await load(about.file, async (response) => new Float32Array(await response.arrayBuffer()));
  return {
    mode: about.mode,
    mean: values.subarray(0, embedDim),
    matrix: about.mode === 'pca' ? values.subarray(embedDim) : null,
  };
}

export async function loadGallery(manifest: WebManifest): Promise<Gallery | null> {
  const { gallery } = manifest;
  if (gallery === null) return null;
  const [images, bytes, transform] = await Promise.all([
    load(gallery.images, (response) => response.json() as Promise<GalleryImage[]>),
    load(gallery.features, (response) => response.arrayBuffer()),
    loadTransform(manifest),
  ]);
  return { images, features: new Float32Array(bytes), transform };
}

/** An image of the gallery, and its similarity to the given image; null when none was given. */
export interface Shown {
  index: number;
  cosine: number | null;
}

interface PicturesProps {
  gallery: Gallery;
  shown: readonly Shown[];
  onImage: (image: Blob, name: string) => void;
}

export function Pictures({ gallery, shown, onImage }: PicturesProps) {
  return (
    <ol class="gallery">
      {shown.map(({ index, cosine }) => {
        const image = gallery.images[index]!;
        return (
          <li key={index}>
            <button
              type="button"
              data-name={image.name}
              {...(cosine === null ? {} : { 'data-cosine': String(cosine) })}
              onClick={() => {
                void load(image.thumbnail, (response) => response.blob()).then((blob) =>
                  onImage(blob, image.name),
                );
              }}
            >
              <img src={image.thumbnail} width={image.width} height={image.height} alt="" loading="lazy" />
              {cosine !== null && <strong>{cosine.toFixed(3)}</strong>}
              {image.label !== null && <span>{image.label}: </span>}
              {image.name.split('/').at(-1)}
            </button>
          </li>
        );
      })}
    </ol>
  );
}
