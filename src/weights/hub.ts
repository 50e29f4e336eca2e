/**
 * The official models of facebookresearch/dino: its README's table of pretrained models, with its links. They are
 * listed, never downloaded: that is the user's decision.
 */
import type { ArchitectureName } from '../models/index.js';

export interface HubModel {
  /** Name in PyTorch Hub, as in torch.hub.load('facebookresearch/dino:main', NAME). */
  name: string;
  /** `--arch` and `--patch-size`; null for a ResNet, which has no patches. */
  arch: string;
  patchSize: number | null;
  /** Parameters of the backbone, in millions, as the table has it. */
  millionParameters: number;
  /** Top-1 on ImageNet, percent. */
  knn: number;
  linear: number;
  /** Weights of only the backbone. */
  backbone: string;
  /** Student and teacher with their heads, optimizer, settings. */
  fullCheckpoint: string;
  /** Settings of the training, its log, and that of the linear evaluation. */
  args: string;
  trainingLog: string;
  evaluationLog: string;
  /** SHA-256 of the backbone's file; null while it isn't known. */
  sha256: string | null;
}

const HOST = 'https://dl.fbaipublicfiles.com/dino';

type Row = readonly [
  name: string,
  arch: ArchitectureName,
  patchSize: number | null,
  millionParameters: number,
  knn: number,
  linear: number,
  folder: string,
];

const ROWS: readonly Row[] = [
  ['dino_vits16', 'vit_small', 16, 21, 74.5, 77.0, 'dino_deitsmall16_pretrain'],
  ['dino_vits8', 'vit_small', 8, 21, 78.3, 79.7, 'dino_deitsmall8_pretrain'],
  ['dino_vitb16', 'vit_base', 16, 85, 76.1, 78.2, 'dino_vitbase16_pretrain'],
  ['dino_vitb8', 'vit_base', 8, 85, 77.4, 80.1, 'dino_vitbase8_pretrain'],
  ['dino_resnet50', 'resnet50', null, 23, 67.5, 75.3, 'dino_resnet50_pretrain'],
  ['dino_xcit_small_12_p16', 'xcit_small_12_p16', 16, 26, 76.0, 77.8, 'dino_xcit_small_12_p16_pretrain'],
  ['dino_xcit_small_12_p8', 'xcit_small_12_p8', 8, 26, 77.1, 79.2, 'dino_xcit_small_12_p8_pretrain'],
  ['dino_xcit_medium_24_p16', 'xcit_medium_24_p16', 16, 84, 76.4, 78.8, 'dino_xcit_medium_24_p16_pretrain'],
  ['dino_xcit_medium_24_p8', 'xcit_medium_24_p8', 8, 84, 77.9, 80.3, 'dino_xcit_medium_24_p8_pretrain'],
];

/** The official models, in the order of the reference's README. */
export const hubModels: readonly HubModel[] = ROWS.map(
  ([name, arch, patchSize, millionParameters, knn, linear, folder]) => ({
    ...{ name, arch, patchSize, millionParameters, knn, linear },
    backbone: `${HOST}/${folder}/${folder}.pth`,
    fullCheckpoint: `${HOST}/${folder}/${folder}_full_checkpoint.pth`,
    args: `${HOST}/${folder}/args.txt`,
    trainingLog: `${HOST}/${folder}/${folder}_log.txt`,
    evaluationLog: `${HOST}/${folder}/${folder}_eval_linear_log.txt`,
    sha256: null,
  }),
);
