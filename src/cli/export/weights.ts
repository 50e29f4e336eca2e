/** `dino export --format safetensors|pth`: see src/weights/export-weights.ts. */
import { exportWeights } from '../../weights/export-weights.js';
import { check, type Invocation, readNumber } from '../command.js';
import { sayOfWeights } from '../eval/options.js';
import type { ExportTarget } from './target.js';

export function exportTo(target: ExportTarget, invocation: Invocation): void {
  const { options, io } = invocation;
  const size =
    options['imageSize'] === undefined ? {} : { imageSize: readNumber(invocation, 'imageSize', { min: 1 }) };
  for (const name of ['attention', 'dynamicSize']) {
    if (options[name] === true)
      invocation.problems.push(
        `--${name === 'attention' ? name : 'dynamic-size'}: only ONNX files have that`,
      );
  }
  check(invocation);
  const { weights, output, which } = target;
  const format = target.format === 'pth' ? 'pth' : 'safetensors';
  const withHead = options['withHead'] === true;
  const result = exportWeights(weights, { format, output, withHead, ...size, ...which });
  sayOfWeights(io, result);
  const { arch, patchSize, imgSize } = result.architecture;
  io.result(
    result,
    `${result.output}: ${result.tensors} tensors, ${(result.parameters / 1e6).toFixed(2)} M values, ` +
      `${arch} with patches of ${patchSize} pixels, position embeddings for ${imgSize} x ${imgSize}`,
  );
}
