/** The length of a run, new or resumed: in epochs, in steps, or a time. */
import { ConfigError } from '../errors.js';
import { printable } from '../plain/printable.js';
import { shellPath } from '../plain/shell.js';
import { formatDuration, parseDuration } from '../plain/units.js';
import type { RunConfig, RunTime } from '../run/run-folder.js';
import { GUESS } from './pace.js';
import { lengthInSteps, MOST_STEPS, type RunLength, stepsOf, type TrainSettings } from '../run/settings.js';

export interface SettledLength {
  /** With `epochs` and `steps`, and without `for` and `untilStalled`, which are in `time`. */
  settings: TrainSettings;
  planned: RunLength;
  time: RunTime | null;
  isGuess: boolean;
}

/** @throws ConfigError for a resumed run that would become shorter. */
export function settleLength(
  { for: duration, untilStalled, ...settings }: TrainSettings,
  before: RunConfig | null,
  { run, stepsPerEpoch }: { run: string; stepsPerEpoch: number },
): SettledLength {
  const inSteps = (steps: number): TrainSettings => ({ ...settings, ...lengthInSteps(steps, stepsPerEpoch) });
  const watch = untilStalled === true ? { untilStalled } : {};
  const seconds = duration === undefined ? null : parseDuration(duration);
  if (before === null) {
    const isGuess = seconds !== null && settings.steps === undefined;
    const steps = isGuess ? GUESS : settings.steps;
    const whole = steps === undefined ? settings : inSteps(steps);
    return {
      settings: whole,
      planned: whole,
      time: seconds === null ? null : { seconds, used: 0, ...watch },
      isGuess,
    };
  }
  const planned = before.settings;
  if (seconds !== null) {
    const { steps, epochs } = planned;
    const used = before.time?.used ?? 0;
    const same = { ...settings, epochs, ...(steps === undefined ? {} : { steps }) };
    return { settings: same, planned, time: { seconds: used + seconds, used, ...watch }, isGuess: true };
  }
  const problem = lengthProblem(run, before, settings);
  if (problem !== null) throw new ConfigError(problem);
  const isSame = stepsOf(settings, stepsPerEpoch) === stepsOf(planned, stepsPerEpoch);
  return {
    settings: settings.steps === undefined ? settings : inSteps(settings.steps),
    planned,
    time: isSame ? (before.time ?? null) : null,
    isGuess: false,
  };
}

/** @throws ConfigError for a run, or a warm-up of the teacher's temperature, of more steps than there can be. */
export function checkSteps(settings: TrainSettings, stepsPerEpoch: number): void {
  const { epochs, steps, warmupTeacherTempEpochs: warmup } = settings;
  const lengths = [
    [steps === undefined ? '--epochs' : '--steps', steps ?? epochs, stepsOf(settings, stepsPerEpoch)],
    ['--warmup-teacher-temp-epochs', warmup, warmup * stepsPerEpoch],
  ] as const;
  const problems = lengths
    .filter(([, , all]) => all > MOST_STEPS)
    .map(
      ([flag, value, all]) =>
        `${flag} ${value}: that is ${grouped(Math.ceil(all))} steps, of ${grouped(stepsPerEpoch)} an epoch; expected at most ` +
        grouped(MOST_STEPS),
    );
  if (problems.length > 0) throw new ConfigError(problems);
}

const grouped = (count: number): string => count.toLocaleString('en-US');

/** What is wrong with the length of a resumed run; null when nothing is. */
export function lengthProblem(run: string, before: RunConfig, wanted: RunLength): string | null {
  const { settings: planned, imageCount, processes } = before;
  const stepsPerEpoch = Math.max(1, Math.floor(imageCount / (planned.batchSize * processes)));
  const steps = stepsOf(planned, stepsPerEpoch);
  if (stepsOf(wanted, stepsPerEpoch) >= steps) return null;
  const [flag, value, now] =
    wanted.steps === undefined
      ? ['--epochs', wanted.epochs, planned.steps === undefined ? planned.epochs : steps / stepsPerEpoch]
      : ['--steps', wanted.steps, steps];
  return (
    `${flag} is ${value}, but the run in ${printable(run)} goes to ${Number(now.toFixed(2))}: a resumed run can only be ` +
    `extended. Leave ${flag} out, or give more than ${Number(now.toFixed(2))}`
  );
}

const inWords = ({ epochs, steps }: RunLength): string =>
  steps === undefined ? `${epochs} epochs` : `${steps} steps`;

/** What a resumed run with another length, or with nothing left to do, does, in words. */
export function changedLength(state: {
  run: string;
  planned: RunLength;
  length: RunLength;
  time: RunTime | null;
  step: number;
  stepsPerEpoch: number;
}): string[] {
  const { run, planned, length, time, step, stepsPerEpoch } = state;
  const isAlike = (planned.steps === undefined) === (length.steps === undefined);
  const before = isAlike ? (planned.steps ?? planned.epochs) : inWords(planned);
  if (stepsOf(planned, stepsPerEpoch) !== stepsOf(length, stepsPerEpoch))
    return [
      `the run goes on to ${inWords(length)} instead of ${before}: from step ${step} on the learning rate, the weight ` +
        `decay and the teacher's momentum move to the schedules of ${inWords(length)}`,
    ];
  if (step < stepsOf(length, stepsPerEpoch)) return [];
  const { epochs, steps } = length;
  if (time !== null)
    return [
      `all ${steps} steps are done, which took ${formatDuration(time.used)} of ${formatDuration(time.seconds)}; nothing is left ` +
        `to do. To go on for another 10 minutes: dino train --resume ${shellPath(run)} --for 10m`,
    ];
  const more = steps === undefined ? `--epochs ${2 * epochs}` : `--steps ${2 * steps}`;
  return [`all ${inWords(length)} are done, nothing is left to do; to go on, resume with more: ${more}`];
}
