/**
 * Which of DINOv3's data sets a network was trained on, web images (LVD-1689M) or satellite images (SAT-493M): it decides how
 * images are normalized. Of ViT-L the tensors tell (only that of satellite images has a norm for local crops) unless another
 * library wrote the file; of ViT-7B they don't, and what the file is called, or what lies beside it, must.
 */
import path from 'node:path';
import { ConfigError } from '../errors.js';
import {
  architectureEntry,
  IMAGENET,
  isOfSatellites,
  type NormalizationName,
  SAT493M,
} from '../models/index.js';
import type { Architecture } from './architecture.js';

/** What may say it, the first that does. */
export interface DatasetHints {
  /** By the caller. */
  asked: NormalizationName | undefined;
  /** Architecture's name by a run or a file's own record. */
  arch: string | null;
  /** Mean of the channels by the files beside the weights, as Hugging Face's preprocessor_config.json. */
  mean: readonly number[] | null;
  /** The file's path. */
  file: string;
  /** Whether the tensors are named as in the original's files, and not as another library writes them. */
  isOriginal: boolean;
  /** The flag by which the caller is asked. */
  flag: string;
}

const SUFFIX = '_sat493m';

/** By the mean of the channels; null for one that is of neither. */
function byMean(mean: readonly number[]): NormalizationName | null {
  const is = (other: readonly number[]): boolean =>
    other.every((value, i) => Math.abs(value - (mean[i] ?? 0)) < 1e-3);
  return is(SAT493M.mean) ? 'sat493m' : is(IMAGENET.mean) ? 'imagenet' : null;
}

export interface Dataset {
  /** The architecture's name of the data set. */
  arch: Architecture['arch'];
  /** What the caller may want to know. */
  note?: string;
  /** A possible problem. */
  warning?: string;
}

/** @throws ConfigError for satellite images with a network that was not trained on them, or the other way round. */
export function datasetOf({ arch }: Pick<Architecture, 'arch'>, hints: DatasetHints): Dataset {
  const { asked, arch: known, mean, file, isOriginal, flag } = hints;
  const twin = `${arch}${SUFFIX}`;
  const beside = mean === null ? null : byMean(mean);
  if (isOfSatellites(arch)) {
    if (asked === 'imagenet')
      throw new ConfigError(
        `${flag} imagenet: ${file} has the norm of local crops that of ViT-Ls only that of satellite images has: ` +
          'leave it out',
      );
    return { arch };
  }
  if (architectureEntry(twin) === null) {
    if (asked === 'sat493m')
      throw new ConfigError(
        `${flag} sat493m: ${file} is a ${arch}; of satellite images are only dinov3_vitl16 and dinov3_vit7b16`,
      );
    if (mean === null || beside === 'imagenet') return { arch };
    const warning =
      `${file}: the files beside it say that images are normalized by the mean ${mean.join(', ')}; here it is ` +
      `${IMAGENET.mean.join(', ')}, so features will differ from those elsewhere`;
    return { arch, warning };
  }
  const of = (name: NormalizationName): Architecture['arch'] =>
    (name === 'sat493m' ? twin : arch) as Architecture['arch'];
  if (asked !== undefined) return { arch: of(asked) };
  if (known === arch || known === twin) return { arch: known as Architecture['arch'] };
  if (beside !== null) return { arch: of(beside) };
  const name = path.basename(file);
  if (/sat-?493m/i.test(name))
    return {
      arch: of('sat493m'),
      note: `${file}: of satellite images by its name, and normalized accordingly`,
    };
  if ((arch === 'dinov3_vitl16' && isOriginal) || /lvd-?1689m/i.test(name)) return { arch };
  const note =
    `${file}: its tensors don't tell whether it is of web or of satellite images; web images are assumed ` +
    `(${flag} sat493m for the other)`;
  return { arch, note };
}
