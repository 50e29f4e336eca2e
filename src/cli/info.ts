/** `dino info`: what a run folder, a checkpoint or a weights file holds. */
import type { Command } from 'commander';
import { addExamples, check, type Invocation } from './command.js';

export function define(command: Command): void {
  command
    .argument('<weights>', 'run folder, checkpoint folder, .safetensors or .pth file')
    .option('--checkpoint-key <name>', 'teacher or student', 'teacher');
  addExamples(command, 'dino info runs/first', 'dino info model.safetensors --json');
}

export async function run(invocation: Invocation): Promise<void> {
  check(invocation);
  const { describeWeights, formatDescription } = await import('../weights/describe.js');
  const key = invocation.options['checkpointKey'] as string;
  const description = describeWeights(invocation.args[0]!, { checkpointKey: key });
  invocation.io.result(description, formatDescription(description));
}
