/** Sizes in bytes and durations as people write them: 500MB, 2GiB, 1h02m. */

const UNITS: Readonly<Record<string, number>> = {
  ...{ '': 1, b: 1, k: 1e3, kb: 1e3, m: 1e6, mb: 1e6, g: 1e9, gb: 1e9, t: 1e12, tb: 1e12 },
  ...{ kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40 },
};

/** 2 ** 30 -> "1.00 GiB". */
export const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

/** A number of bytes with a unit; null for anything else. */
export function parseBytes(text: string): number | null {
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim()) ?? [];
  const scale = UNITS[unit?.toLowerCase() ?? '-'];
  return number === undefined || scale === undefined ? null : Math.round(Number(number) * scale);
}

/** What `--for overnight` means. */
const OVERNIGHT_SECONDS = 8 * 3600;

/** A duration in seconds: `90s`, `10m`, `2h`, `1h30m`, `1.5h`, `overnight` (8 h); null for anything else. */
export function parseDuration(text: string): number | null {
  const words = text.trim().toLowerCase();
  if (words === 'overnight') return OVERNIGHT_SECONDS;
  const amount = String.raw`(\d+(?:\.\d+)?)\s*`;
  const pattern = new RegExp(`^(?:${amount}h)?\\s*(?:${amount}m(?:in)?)?\\s*(?:${amount}s)?$`);
  const found = pattern.exec(words);
  if (found === null || words === '') return null;
  const [hours, minutes, seconds] = found.slice(1).map((part) => Number((part as string | undefined) ?? 0));
  return 3600 * hours! + 60 * minutes! + seconds!;
}

/** 0.0123 -> "12.3 ms", 2.345 -> "2.35 s". */
export const showSeconds = (seconds: number): string =>
  seconds < 1 ? `${Number((1000 * seconds).toPrecision(3))} ms` : `${Number(seconds.toPrecision(3))} s`;

/** 3725 -> "1h02m", 65 -> "1m05s", 9.4 -> "9s". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number): string => String(value).padStart(2, '0');
  if (whole >= 3600) return `${Math.floor(whole / 3600)}h${two(Math.floor((whole % 3600) / 60))}m`;
  return whole >= 60 ? `${Math.floor(whole / 60)}m${two(whole % 60)}s` : `${whole}s`;
}
