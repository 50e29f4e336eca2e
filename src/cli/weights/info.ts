/** `dino info`: what a run folder, a checkpoint or a weights file holds. */
import type { Command } from 'commander';
import { addExamples, check, type Invocation } from '../command.js';
import { addWeightsOptions, readWeightsOptions } from '../eval/options.js';

export function define(command: Command): void {
  command.argument('<weights>', 'run folder, checkpoint folder, .safetensors or .pth file');
  addWeightsOptions(command);
  addExamples(command, 'dino info runs/first', 'dino info model.safetensors --json');
}

export async function run(invocation: Invocation): Promise<void> {
  const which = readWeightsOptions(invocation);
  check(invocation);
  const { describeWeights } = await import('../../weights/describe.js');
  const { formatDescription } = await import('./describe.js');
  const description = describeWeights(invocation.args[0]!, which);
  invocation.io.result(description, formatDescription(description));
  for (const warning of description.warnings) invocation.io.warn(warning);
}
