/** `dino doctor`: see src/doctor/doctor.ts. */
import type { Command } from 'commander';
import { formatReport, runDoctor } from '../doctor/doctor.js';
import { addExamples, check, Reported, type Invocation } from './command.js';

export function define(command: Command): void {
  addExamples(command, 'dino doctor', 'dino doctor --json');
}

export async function run(invocation: Invocation): Promise<void> {
  check(invocation);
  const report = await runDoctor();
  invocation.io.result(report, formatReport(report));
  if (!report.ok) throw new Reported(1);
}
