/** `dino hub`: the official models and where they are; see src/weights/hub.ts. */
import { type HubModel, hubModels } from '../../weights/hub.js';
import { defineCommand } from '../command.js';

/** The models as a table with links. */
export function formatHub(models: readonly HubModel[]): string {
  const lines = ['name                     params  k-NN   linear'];
  for (const { name, millionParameters, knn, linear } of models) {
    lines.push(
      `${name.padEnd(24)} ${`${millionParameters} M`.padStart(6)}  ${knn.toFixed(1)}%  ${linear.toFixed(1)}%`,
    );
  }
  lines.push('', 'Backbones, for `dino embed`, `dino attention`, `dino eval` and `dino train --init`:');
  for (const { backbone } of models) lines.push(`  ${backbone}`);
  lines.push('', 'Full checkpoints, with both heads, for `dino train --init` and `--resume`:');
  for (const { fullCheckpoint } of models) lines.push(`  ${fullCheckpoint}`);
  lines.push(
    '',
    'Download one with a browser or curl -LO and give the file as WEIGHTS. Settings and logs: dino hub --json',
    'Licence and source: https://github.com/facebookresearch/dino',
  );
  return lines.join('\n');
}

export const command = defineCommand({
  options: {},
  examples: ['dino hub', 'dino hub --json'],
  run: ({ io }) => io.result(hubModels, formatHub(hubModels)),
});
