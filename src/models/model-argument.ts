/** Checks the model that a public function is given, for plain/check-options.ts. */
import { type Argument, being } from '../plain/check-options.js';
import { ConfigError } from '../errors.js';
import { countChannels } from '../plain/channels.js';
import { Backbone } from './backbone.js';

export const model = being('a model, from loadModel()', (value) => {
  const { backbone, architecture, device } = Object(value) as Record<string, unknown>;
  return backbone instanceof Backbone && typeof architecture === 'object' && typeof device === 'string';
});

/** Of functions that take any images. */
export const anyModelArgument = (value: unknown): Argument => ['model', model, value];

/**
 * Of functions that show images or hand them on, as 8-bit RGB.
 * @throws ConfigError for a model of other images
 */
export function modelArgument(value: unknown): Argument {
  onlyRgb(Object(value) as { backbone?: unknown });
  return anyModelArgument(value);
}

/** @throws ConfigError for a model of images whose channels are taken as they are */
export function onlyRgb({ backbone }: { backbone?: unknown }): void {
  if (!(backbone instanceof Backbone) || backbone.channels === null) return;
  throw new ConfigError(
    `the model takes images of ${countChannels(backbone.channels)} as they are, and this works for 8-bit RGB only. ` +
      'Such a model can be trained and adapted (dino train, dino adapt), measured (dino eval knn, linear and quality), ' +
      'used for features and what builds on them (dino embed, index, search, duplicates, outliers, cluster, select), and ' +
      'written (dino export --format safetensors or pth)',
  );
}
