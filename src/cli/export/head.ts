/** Says so where an export leaves out the head of a classifier or a segmenter: such a file is taken as the backbone in it. */
import path from 'node:path';
import { holdsClassifier } from '../../classify/classifier-file.js';
import { printable } from '../../plain/printable.js';
import { shellPath } from '../../plain/shell.js';
import { holdsSegmenter } from '../../segment/segmenter-file.js';
import type { ExportCall } from './options.js';

export function warnOfHead({ args: { weights }, options: { format }, io }: ExportCall): void {
  const leavesOut = (head: string): string =>
    `${printable(weights)} holds a ${head}, and --format ${format} writes only its backbone: `;
  // a page has a classifier, or a line of its own that says why not
  if (format !== 'web' && holdsClassifier(weights)) {
    const onnx = shellPath(`${path.parse(weights).name}.onnx`);
    io.warn(
      `${leavesOut('classifier')}dino classify export ${shellPath(weights)} --output ${onnx} writes both as ONNX, ` +
        `dino export ${shellPath(weights)} --format web --output site both as a page (of logistic regression; k-NN has only ` +
        'the file itself)',
    );
  }
  if (holdsSegmenter(weights))
    io.warn(
      `${leavesOut('segmenter')}only the file itself has both, for dino segment predict and loadSegmenter()`,
    );
}
