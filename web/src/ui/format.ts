/** Numbers and dates in words. */
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

/** 5400 -> "1.5 h". */
export function duration(seconds: number): string {
  if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
  if (seconds < 3600) return `${Number((seconds / 60).toPrecision(3))} min`;
  return `${Number((seconds / 3600).toPrecision(4))} h`;
}

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
