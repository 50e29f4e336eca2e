/** Numbers, dates and paths in words. */
const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export const count = (value: number): string => whole.format(value);

export function bytes(value: number): string {
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Short, with the significant digits: 0.000512, 3.218, 41,300. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 10_000) return whole.format(value);
  if (size >= 0.001) return String(Number(value.toPrecision(4)));
  return value.toExponential(2);
}

export const percent = (share: number, digits = 0): string => `${(100 * share).toFixed(digits)} %`;

/** "1 image", "2,000 images". */
export const counted = (value: number, noun: string): string =>
  `${count(value)} ${noun}${value === 1 ? '' : 's'}`;

/** A number of a unit and of a smaller one of which it has `size`; the smaller one is left out when it is 0. */
function inTwo(value: number, size: number, large: string, small: string): string {
  const whole = Math.round(value);
  const rest = whole % size;
  return `${Math.floor(whole / size)} ${large}${rest === 0 ? '' : ` ${rest} ${small}`}`;
}

/** 0.431 -> "0.431 s", 100.2 -> "1 min 40 s", 5400 -> "1 h 30 min". */
export function duration(seconds: number): string {
  if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
  return seconds < 3600 ? inTwo(seconds, 60, 'min', 's') : inTwo(seconds / 60, 60, 'h', 'min');
}

/** As people say it: 100.2 -> "2 min", 4000 -> "1 h 7 min". */
export function roughly(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 3570 ? `${Math.round(seconds / 60)} min` : inTwo(seconds / 60, 60, 'h', 'min');
}

/** The last part of a path: the name of a file or folder. */
export const lastPart = (path: string): string =>
  path
    .split(/[\\/]/)
    .filter((part) => part !== '')
    .at(-1) ?? path;

export const when = (ms: number): string =>
  new Date(ms).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });

/** A setting's value as it is written in a command. */
export const setting = (value: unknown): string =>
  value === undefined
    ? '–'
    : Array.isArray(value)
      ? value.join(' ')
      : typeof value === 'string'
        ? value
        : JSON.stringify(value);
