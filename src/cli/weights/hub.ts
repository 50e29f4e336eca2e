/** `dino hub`: the official models and where they are; see src/weights/hub.ts. */
import { hubAdvice, type HubModel, hubModels } from '../../weights/hub.js';
import { DINOV3_LICENCE, type DinoV3HubModel, dinoV3HubModels } from '../../weights/hub-dinov3.js';
import { hubSpeed, imagesPerSecond } from '../../weights/hub-speed.js';
import { defineCommand } from '../command.js';

/** Two columns of a list, the first as wide as its longest entry. */
function listOf(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([first]) => first.length));
  return rows.map(([first, second]) => `  ${first.padEnd(width)}  ${second}`);
}

const speedOf = (model: HubModel | DinoV3HubModel): string =>
  String(imagesPerSecond(model) ?? '-').padStart(8);

/** The models as a table with links. */
export function formatHub(models: readonly HubModel[]): string {
  const lines = ['name                     params     file  images/s  k-NN   linear'];
  for (const model of models) {
    const { name, millionParameters, megabytes, knn, linear } = model;
    lines.push(
      `${name.padEnd(24)} ${`${millionParameters} M`.padStart(6)} ${`${megabytes} MB`.padStart(8)}  ${speedOf(model)}  ${knn.toFixed(1)}%  ${linear.toFixed(1)}%`,
    );
  }
  lines.push('', 'Which one:', ...listOf(hubAdvice));
  lines.push('', 'Backbones, for `dino embed`, `dino attention`, `dino eval` and `dino train --init`:');
  for (const { backbone } of models) lines.push(`  ${backbone}`);
  lines.push('', 'Full checkpoints, with both heads, for `dino train --init` and `--resume`:');
  for (const { fullCheckpoint } of models) if (fullCheckpoint !== null) lines.push(`  ${fullCheckpoint}`);
  lines.push(
    '',
    `images/s: 224 pixels, float32, measured on ${hubSpeed.machine}.`,
    'k-NN and linear are top-1 on ImageNet, as published. The file of each has its names, and is read as it is:',
    '`dino eval knn FILE` checks one against its number (docs/backbones.md).',
    'Download one with a browser or curl -LO and give the file as WEIGHTS. Settings and logs: dino hub --json',
    'Licence and source:',
  );
  const sources = new Map(models.map(({ repository, licence }) => [repository, licence]));
  for (const [repository, licence] of sources) lines.push(`  https://github.com/${repository} (${licence})`);
  return lines.join('\n');
}

/** DINOv3's networks: the licence first, since it must be accepted before they can be downloaded. */
export function formatDinoV3Hub(models: readonly DinoV3HubModel[]): string {
  const lines = [
    `DINOv3, under the ${DINOV3_LICENCE.name}, which is not DINO's and also binds what is made from the weights:`,
    `  ${DINOV3_LICENCE.link}`,
    'Accept it there or on Hugging Face, and links to the files are sent:',
    `  ${models[0]?.page ?? ''}`,
    '',
    'name                       params      size  images/s  images     results',
  ];
  for (const model of models) {
    const { arch, millionParameters, megabytes, dataset, results } = model;
    const size = megabytes < 1000 ? `${megabytes} MB` : `${(megabytes / 1000).toFixed(1)} GB`;
    const shown = Object.entries(results).map(([task, value]) => `${task} ${value.toFixed(1)}%`);
    lines.push(
      `${arch.padEnd(24)} ${`${millionParameters} M`.padStart(8)} ${size.padStart(9)}  ${speedOf(model)}  ${dataset.padEnd(9)}  ${shown.join('  ')}`,
    );
  }
  lines.push('', 'The same on Hugging Face (give the folder as WEIGHTS):');
  for (const { huggingFace } of models) lines.push(`  ${huggingFace}`);
  lines.push('', 'Source and numbers: https://github.com/facebookresearch/dinov3 (README.md, MODEL_CARD.md)');
  return lines.join('\n');
}

export const command = defineCommand({
  options: {},
  examples: ['dino hub', 'dino hub --json'],
  run: ({ io }) =>
    io.result(
      [...hubModels, ...dinoV3HubModels].map((model) => ({
        ...model,
        imagesPerSecond: imagesPerSecond(model),
      })),
      `${formatHub(hubModels)}\n\n${formatDinoV3Hub(dinoV3HubModels)}`,
    ),
});
