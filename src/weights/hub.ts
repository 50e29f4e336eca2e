/**
 * The official models of facebookresearch/dino and facebookresearch/dinov2: their READMEs' tables of pretrained models,
 * with their links. They are listed, never downloaded: that is the user's decision.
 */
import type { ArchitectureName } from '../models/index.js';

export interface HubModel {
  /** Name in PyTorch Hub, as in torch.hub.load('facebookresearch/dino:main', NAME). */
  name: string;
  /** The repository on GitHub that it is from. */
  repository: string;
  /** `--arch` and `--patch-size`; null for a ResNet, which has no patches. */
  arch: string;
  patchSize: number | null;
  /** Parameters of the backbone, in millions, as the table has it. */
  millionParameters: number;
  /** Size of the backbone's file, 10^6 bytes, from its tensors. */
  megabytes: number;
  /** Top-1 on ImageNet, percent. */
  knn: number;
  linear: number;
  /** Of the weights. */
  licence: string;
  /** Weights of only the backbone. */
  backbone: string;
  /** Student and teacher with their heads, optimizer, settings; null where it is not published. */
  fullCheckpoint: string | null;
  /** Settings of the training, its log, and that of the linear evaluation; null where they are not published. */
  args: string | null;
  trainingLog: string | null;
  evaluationLog: string | null;
  /** SHA-256 of the backbone's file; null while it isn't known. */
  sha256: string | null;
}

const HOST = 'https://dl.fbaipublicfiles.com';

type Row = readonly [
  name: string,
  arch: ArchitectureName,
  patchSize: number | null,
  millionParameters: number,
  megabytes: number,
  knn: number,
  linear: number,
  file: string,
];

const DINO: readonly Row[] = [
  ['dino_vits16', 'vit_small', 16, 21, 87, 74.5, 77.0, 'dino_deitsmall16_pretrain'],
  ['dino_vits8', 'vit_small', 8, 21, 87, 78.3, 79.7, 'dino_deitsmall8_pretrain'],
  ['dino_vitb16', 'vit_base', 16, 85, 343, 76.1, 78.2, 'dino_vitbase16_pretrain'],
  ['dino_vitb8', 'vit_base', 8, 85, 343, 77.4, 80.1, 'dino_vitbase8_pretrain'],
  ['dino_resnet50', 'resnet50', null, 23, 94, 67.5, 75.3, 'dino_resnet50_pretrain'],
  ['dino_xcit_small_12_p16', 'xcit_small_12_p16', 16, 26, 104, 76.0, 77.8, 'dino_xcit_small_12_p16_pretrain'],
  ['dino_xcit_small_12_p8', 'xcit_small_12_p8', 8, 26, 103, 77.1, 79.2, 'dino_xcit_small_12_p8_pretrain'],
  ['dino_xcit_medium_24_p16', 'xcit_medium_24_p16', 16, 84, 336, 76.4, 78.8, 'dino_xcit_medium_24_p16_pretrain'],
  ['dino_xcit_medium_24_p8', 'xcit_medium_24_p8', 8, 84, 335, 77.9, 80.3, 'dino_xcit_medium_24_p8_pretrain'],
]; // prettier-ignore

const DINOV2: readonly Row[] = [
  ['dinov2_vits14', 'dinov2_vits14', 14, 21, 88, 79.0, 81.1, 'dinov2_vits14/dinov2_vits14_pretrain'],
  ['dinov2_vits14_reg', 'dinov2_vits14_reg', 14, 21, 88, 79.1, 80.9, 'dinov2_vits14/dinov2_vits14_reg4_pretrain'],
  ['dinov2_vitb14', 'dinov2_vitb14', 14, 86, 346, 82.1, 84.5, 'dinov2_vitb14/dinov2_vitb14_pretrain'],
  ['dinov2_vitb14_reg', 'dinov2_vitb14_reg', 14, 86, 346, 82.0, 84.6, 'dinov2_vitb14/dinov2_vitb14_reg4_pretrain'],
  ['dinov2_vitl14', 'dinov2_vitl14', 14, 300, 1217, 83.5, 86.3, 'dinov2_vitl14/dinov2_vitl14_pretrain'],
  ['dinov2_vitl14_reg', 'dinov2_vitl14_reg', 14, 300, 1217, 83.8, 86.7, 'dinov2_vitl14/dinov2_vitl14_reg4_pretrain'],
  ['dinov2_vitg14', 'dinov2_vitg14', 14, 1100, 4546, 83.5, 86.5, 'dinov2_vitg14/dinov2_vitg14_pretrain'],
  ['dinov2_vitg14_reg', 'dinov2_vitg14_reg', 14, 1100, 4546, 83.7, 87.1, 'dinov2_vitg14/dinov2_vitg14_reg4_pretrain'],
]; // prettier-ignore

type Published = Pick<HubModel, 'backbone' | 'fullCheckpoint' | 'args' | 'trainingLog' | 'evaluationLog'>;

const ofRow =
  (repository: string, publishedAs: (file: string) => Published) =>
  ([name, arch, patchSize, millionParameters, megabytes, knn, linear, file]: Row): HubModel => ({
    ...{ name, repository, arch, patchSize, millionParameters, megabytes, knn, linear },
    licence: 'Apache-2.0',
    ...publishedAs(file),
    sha256: null,
  });

/** The official models, in the order of their READMEs. */
export const hubModels: readonly HubModel[] = [
  ...DINO.map(
    ofRow('facebookresearch/dino', (file) => ({
      backbone: `${HOST}/dino/${file}/${file}.pth`,
      fullCheckpoint: `${HOST}/dino/${file}/${file}_full_checkpoint.pth`,
      args: `${HOST}/dino/${file}/args.txt`,
      trainingLog: `${HOST}/dino/${file}/${file}_log.txt`,
      evaluationLog: `${HOST}/dino/${file}/${file}_eval_linear_log.txt`,
    })),
  ),
  ...DINOV2.map(
    ofRow('facebookresearch/dinov2', (file) => ({
      backbone: `${HOST}/dinov2/${file}.pth`,
      ...{ fullCheckpoint: null, args: null, trainingLog: null, evaluationLog: null },
    })),
  ),
];

/** Which to take for what. */
export const hubAdvice: readonly (readonly [task: string, advice: string])[] = [
  [
    'features: search, k-NN, a linear classifier',
    'dinov2_vitb14_reg; dinov2_vits14_reg where time or memory is short, dinov2_vitl14_reg where neither is',
  ],
  [
    'attention maps',
    'dino_vits8 or dino_vitb8; of DINOv2 those with registers (_reg): without, some patches of the background draw the attention',
  ],
  ['colours and similarity of patches, segmentation', 'dinov2_vits14_reg, dinov2_vitb14_reg'],
  [
    'training on (--init)',
    'dino_vits16, whose full checkpoint has the heads too; dinov2_vits14, without heads',
  ],
];
