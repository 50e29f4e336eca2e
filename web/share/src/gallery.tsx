/** The images that were exported with the model: to try it on, and to find neighbours among. */
import { type FeatureTransform, NO_TRANSFORM } from '../../../src/plain/feature-transform.ts';
import { type GalleryNames, galleryNames } from '../../../src/plain/gallery-names.ts';
import type { GalleryImage, WebManifest } from '../../../src/plain/web-manifest.ts';
import { lastPart } from '../../src/ui/format.ts';
import { load, loadFloats } from './load.ts';

export interface Gallery extends GalleryNames {
  images: readonly GalleryImage[];
  /** (count, D), rows of length 1, transformed. */
  features: Float32Array;
  /** What a query goes through before it is compared with them. */
  transform: FeatureTransform;
  /** Rows of images to begin with. */
  samples: readonly number[];
}

async function loadTransform({ model: { embedDim }, gallery }: WebManifest): Promise<FeatureTransform> {
  const about = gallery?.transform ?? null;
  if (about === null) return NO_TRANSFORM;
  const values = await loadFloats(about.file);
  return {
    mode: about.mode,
    mean: values.subarray(0, embedDim),
    matrix: about.mode === 'pca' ? values.subarray(embedDim) : null,
  };
}

export async function loadGallery(manifest: WebManifest): Promise<Gallery | null> {
  const { gallery } = manifest;
  if (gallery === null) return null;
  const [images, features, transform] = await Promise.all([
    load(gallery.images, (response) => response.json() as Promise<GalleryImage[]>),
    loadFloats(gallery.features),
    loadTransform(manifest),
  ]);
  return { images, features, transform, samples: gallery.samples, ...galleryNames(images) };
}

interface SamplesProps {
  gallery: Gallery;
  /** The row that is shown. */
  current: number | null;
  onChoose: (row: number) => void;
}

/** Images to begin with, and to come back to. */
export function Samples({ gallery, current, onChoose }: SamplesProps) {
  return (
    <ul class="samples" aria-label="Sample images">
      {gallery.samples.map((row) => {
        const { name, thumbnail } = gallery.images[row]!;
        return (
          <li key={row}>
            <button
              type="button"
              aria-label={name}
              title={name}
              aria-pressed={row === current}
              onClick={() => onChoose(row)}
            >
              <img src={thumbnail} width="76" height="76" alt="" />
            </button>
          </li>
        );
      })}
    </ul>
  );
}

/** An image of the gallery, and its similarity to the given one. */
export interface Neighbour {
  row: number;
  cosine: number;
}

interface NeighboursProps {
  gallery: Gallery;
  shown: readonly Neighbour[];
  onChoose: (row: number) => void;
}

export function Neighbours({ gallery, shown, onChoose }: NeighboursProps) {
  return (
    <ol class="gallery">
      {shown.map(({ row, cosine }) => {
        const { name, label, thumbnail, width, height } = gallery.images[row]!;
        return (
          <li key={row}>
            <button
              type="button"
              data-name={name}
              data-cosine={String(cosine)}
              title={name}
              onClick={() => onChoose(row)}
            >
              <img src={thumbnail} width={width} height={height} alt="" loading="lazy" />
              <strong>{cosine.toFixed(3)}</strong>
              {label !== null && <span>{label}: </span>}
              {lastPart(name)}
            </button>
          </li>
        );
      })}
    </ol>
  );
}
