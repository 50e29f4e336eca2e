/** `dino hub`: the official models and where they are; see src/weights/hub.ts. */
import { formatHub, hubModels } from '../../weights/hub.js';
import { defineCommand } from '../command.js';

export const command = defineCommand({
  options: {},
  examples: ['dino hub', 'dino hub --json'],
  run: ({ io }) => io.result(hubModels, formatHub(hubModels)),
});
