/** `dino doctor`: see src/doctor/doctor.ts. */
import { formatReport, runDoctor } from '../doctor/doctor.js';
import { defineCommand } from './command.js';
import { Reported } from './outcome.js';

export const command = defineCommand({
  options: {},
  examples: ['dino doctor', 'dino doctor --json'],

  async run({ io }) {
    const report = await runDoctor();
    io.result(report, formatReport(report));
    if (!report.ok) throw new Reported(1);
  },
});
