/** `dino hub`: the official models and where they are; see src/weights/hub.ts. */
import type { Command } from 'commander';
import { formatHub, hubModels } from '../../weights/hub.js';
import { addExamples, check, type Invocation } from '../command.js';

export function define(command: Command): void {
  addExamples(command, 'dino hub', 'dino hub --json');
}

export function run(invocation: Invocation): Promise<void> {
  check(invocation);
  invocation.io.result(hubModels, formatHub(hubModels));
  return Promise.resolve();
}
