/** The crops that training would see: the loader with the chosen settings, first images of the seed's first epoch. */
import sharp from 'sharp';
import { MultiCropLoader } from '../../data/index.js';
import { planOf } from './start-plan.js';
import type { JobFunction } from './job.js';

const IMAGES = 6;
/** Crops are shown at this size, however small they are. */
const SHOWN = 112;

/** Crop `index` of (n, 3, size, size) bytes as a WebP in base64. */
async function picture(planes: Uint8Array, index: number, size: number): Promise<string> {
  const area = size * size;
  const pixels = new Uint8Array(3 * area); // (size, size, 3)
  for (let c = 0; c < 3; c++) {
    const start = (index * 3 + c) * area;
    for (let i = 0; i < area; i++) pixels[3 * i + c] = planes[start + i]!;
  }
  const image = sharp(pixels, { raw: { width: size, height: size, channels: 3 } });
  const shown = size < SHOWN ? image.resize(SHOWN, SHOWN, { kernel: 'nearest' }) : image;
  return (await shown.webp({ quality: 85 }).toBuffer()).toString('base64');
}

export const run: JobFunction<'start-crops'> = async ({ seed, ...request }, { signal }) => {
  const { settings, images } = await planOf(request);
  const batchSize = Math.min(IMAGES, images.items.length);
  const { items } = images;
  const loader = new MultiCropLoader({
    items,
    batchSize,
    seed,
    augmentation: settings,
    numWorkers: 0,
    epochs: 1,
    signal,
  });
  const paths = [...items].map(({ path }) => path);
  for await (const batch of loader) {
    const result = await Promise.all(
      batch.indices.map(async (index, position) => {
        const crops = (planes: Uint8Array, count: number, size: number): Promise<string[]> =>
          Promise.all(
            Array.from({ length: count }, (_, crop) => picture(planes, crop * batchSize + position, size)),
          );
        return {
          path: paths[index]!,
          globals: await crops(batch.globals, 2, batch.globalSize),
          locals:
            batch.locals === null
              ? []
              : await crops(batch.locals, settings.localCropsNumber, batch.localSize),
        };
      }),
    );
    batch.release();
    await loader.close();
    return { images: result };
  }
  return { images: [] };
};
