/** `dino export --format safetensors|pth`: see src/weights/export-weights.ts. */
import { learnsPositions } from '../../weights/architecture.js';
import { exportWeights } from '../../weights/export-weights.js';
import { pick } from '../flags.js';
import { printOrigin, whichNetwork } from '../weights/options.js';
import { cardLine, writeCard } from './card.js';
import type { ExportCall } from './options.js';

export function exportTo(call: ExportCall): void {
  const { args, options, io } = call;
  const format = options.format === 'pth' ? 'pth' : 'safetensors';
  const [imageSize] = options.imageSize ?? [];
  const result = exportWeights(args.weights, {
    ...pick(options, 'output', 'withHead'),
    ...whichNetwork(options),
    format,
    ...(imageSize === undefined ? {} : { imageSize }),
  });
  printOrigin(io, result);
  const { arch, patchSize, positionsSize: side = result.architecture.imgSize } = result.architecture;
  const positions = learnsPositions(result.architecture) ? `, position embeddings for ${side} x ${side}` : '';
  const card = writeCard(call, format, { imageSize: result.architecture.imgSize });
  io.result(
    { ...result, card },
    `${result.output}: ${result.tensors} tensors, ${(result.parameters / 1e6).toFixed(2)} M values, ` +
      `${arch} with patches of ${patchSize} pixels${positions}${cardLine(card)}`,
  );
}
