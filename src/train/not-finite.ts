/** What to try when the numbers of a training are no longer finite. */
import { shellPath } from '../plain/shell.js';
import type { TrainSettings } from '../run/settings.js';

export function notFinite(step: number, settings: TrainSettings, output: string): string {
  return (
    `Step ${step + 1}: the loss or a gradient is no longer finite. The state before this step is saved, but a resume would meet ` +
    `the same step again. Start a new run with a lower --lr (now ${settings.lr}), --clip-grad 0.3 (now ` +
    `${settings.clipGrad === 0 ? 'none' : settings.clipGrad}), more --warmup-epochs (now ${settings.warmupEpochs})` +
    `${settings.precision === 'fp32' ? '' : ' or --precision fp32'}; --init ${shellPath(output)} begins it with the weights that ` +
    'this one had.'
  );
}
