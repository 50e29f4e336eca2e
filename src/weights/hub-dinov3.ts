/**
 * The official networks of facebookresearch/dinov3: its README's tables, the names of its hub's files, and the numbers of its
 * MODEL_CARD.md. They are listed, never downloaded: their licence is not that of DINO, and must be accepted first.
 */
import type { ArchitectureName } from '../models/index.js';

/** The licence of DINOv3's weights, and of what is made from them. */
export const DINOV3_LICENCE = {
  name: 'DINOv3 License',
  link: 'https://ai.meta.com/resources/models-and-libraries/dinov3-license/',
} as const;

export interface DinoV3HubModel {
  /** Name in PyTorch Hub, as in torch.hub.load('facebookresearch/dinov3', NAME). */
  name: string;
  /** The architecture's name here; for satellite images it has the ending `_sat493m`. */
  arch: ArchitectureName;
  dataset: 'LVD-1689M' | 'SAT-493M';
  /** Parameters, in millions, as the table has it. */
  millionParameters: number;
  /** Size of the weights in float32, in millions of bytes. */
  megabytes: number;
  /** Published results, percent, by the card's names. */
  results: Readonly<Record<string, number>>;
  /** Name of the file that is downloaded. */
  file: string;
  /** Where the licence is accepted; links to the files are then sent by e-mail. */
  page: string;
  /** The same weights on Hugging Face, behind the same licence. */
  huggingFace: string;
  licence: typeof DINOV3_LICENCE;
}

const PAGE = 'https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/';

type Row = readonly [
  arch: ArchitectureName,
  millionParameters: number,
  megabytes: number,
  hash: string,
  results: readonly number[],
];

const WEB_ROWS: readonly Row[] = [
  ['dinov3_vits16', 21, 86, '08c60483', [87.0, 60.4, 50.9, 47.0]],
  ['dinov3_vits16plus', 29, 115, '4057cbaa', [88.0, 68.8, 54.6, 48.8]],
  ['dinov3_vitb16', 86, 343, '73cec8be', [89.3, 76.7, 64.1, 51.8]],
  ['dinov3_vitl16', 300, 1213, '8aa4cbdd', [90.2, 88.1, 74.8, 54.9]],
  ['dinov3_vith16plus', 840, 3363, '7c1da9a5', [90.3, 90.0, 78.6, 54.8]],
  ['dinov3_vit7b16', 6716, 26864, 'a955f4ea', [90.4, 91.1, 91.1, 55.9]],
  ['dinov3_convnext_tiny', 29, 111, '21b726bb', [86.6, 73.7, 52.6, 42.7]],
  ['dinov3_convnext_small', 50, 198, '296db49d', [87.9, 73.7, 52.6, 44.8]],
  ['dinov3_convnext_base', 89, 350, '801f2ba9', [88.5, 77.2, 56.2, 46.3]],
  ['dinov3_convnext_large', 198, 785, '61fa432d', [88.9, 81.3, 59.3, 47.8]],
];
const SATELLITE_ROWS: readonly Row[] = [
  ['dinov3_vitl16_sat493m', 300, 1213, 'eadcf0ff', [79.6, 74.5]],
  ['dinov3_vit7b16_sat493m', 6716, 26864, 'a6675841', [81.1, 75.0]],
];
/** ConvNeXts at 256 pixels. */
const WEB_RESULTS = ['IN-ReaL', 'IN-R', 'Obj.Net', 'ADE20k'];
const SATELLITE_RESULTS = ['GEO-Bench classification', 'GEO-Bench segmentation'];

const modelsOf = (
  rows: readonly Row[],
  dataset: DinoV3HubModel['dataset'],
  tasks: readonly string[],
): DinoV3HubModel[] =>
  rows.map(([arch, millionParameters, megabytes, hash, numbers]) => {
    const name = arch.replace(/_sat493m$/, '');
    const weights = `${name}_pretrain_${dataset.replace('-', '').toLowerCase()}`;
    return {
      ...{ name, arch, dataset, millionParameters, megabytes },
      results: Object.fromEntries(tasks.map((task, i) => [task, numbers[i] as number])),
      file: `${weights}-${hash}.pth`,
      page: PAGE,
      huggingFace: `https://huggingface.co/facebook/${weights.replaceAll('_', '-')}`,
      licence: DINOV3_LICENCE,
    };
  });

/** The official networks, in the order of the original's README. */
export const dinoV3HubModels: readonly DinoV3HubModel[] = [
  ...modelsOf(WEB_ROWS, 'LVD-1689M', WEB_RESULTS),
  ...modelsOf(SATELLITE_ROWS, 'SAT-493M', SATELLITE_RESULTS),
];
