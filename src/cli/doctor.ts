/** `dino doctor`: see src/doctor/doctor.ts. */
import { type DoctorReport, runDoctor } from '../doctor/doctor.js';
import { defineCommand } from './command.js';
import { Reported } from './outcome.js';

/** The report as text for a terminal. */
export function formatReport(report: DoctorReport): string {
  const mark = { ok: 'ok     ', missing: 'MISSING', note: 'note   ' } as const;
  const lines = ['Versions'];
  for (const [name, value] of Object.entries(report.versions)) lines.push(`  ${name.padEnd(16)} ${value}`);
  lines.push('', 'Checks');
  for (const { name, state, detail, advice } of report.checks) {
    lines.push(`  ${mark[state]} ${name}: ${detail}`);
    if (advice !== undefined) lines.push(`          -> ${advice}`);
  }
  lines.push('', 'Places tried for libtorch, in order');
  for (const { source, path: where, problem } of report.libtorchTried) {
    lines.push(`  ${source}: ${where} ${problem ?? '(used)'}`);
  }
  lines.push(
    '',
    'Precisions, with GFLOP/s of matrix products; --precision auto times steps in those marked ok',
  );
  if (report.devices.length === 0) lines.push('  not measured');
  for (const { device, precisions } of report.devices) {
    for (const { precision, problem, speed } of precisions)
      lines.push(
        `  ${problem === null ? mark.ok : 'no     '} ${device} ${precision}: ${problem ?? speed ?? 'not measured'}`,
      );
  }
  lines.push(
    '',
    report.ok ? 'Everything is in place.' : 'Something is missing: see the lines marked MISSING.',
  );
  return lines.join('\n');
}

export const command = defineCommand({
  options: {},
  examples: ['dino doctor', 'dino doctor --json'],

  async run({ io }) {
    const report = await runDoctor();
    io.result(report, formatReport(report));
    if (!report.ok) throw new Reported(1);
  },
});
