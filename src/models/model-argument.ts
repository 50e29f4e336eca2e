/** Checks the model that a public function is given, for plain/check-options.ts. */
import { type Argument, being } from '../plain/check-options.js';
import { Backbone } from './backbone.js';

export const model = being('a model, from loadModel()', (value) => {
  const { backbone, architecture, device } = Object(value) as Record<string, unknown>;
  return backbone instanceof Backbone && typeof architecture === 'object' && typeof device === 'string';
});

export const modelArgument = (value: unknown): Argument => ['model', model, value];
