/** What has been measured: JSON lines in a folder, one a run or set of baselines; what is there is not measured again. */
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

export const resultsPath = (out) => path.join(out, 'results.jsonl');

/** All lines, the newest for each id. A line that was cut off by a crash is left out. */
export function readResults(out) {
  const file = resultsPath(out);
  if (!existsSync(file)) return [];
  const byId = new Map();
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    try {
      const row = JSON.parse(line);
      byId.delete(row.id);
      byId.set(row.id, row);
    } catch {
      if (line.trim() !== '')
        console.error(`${file}: left out a line that is not JSON: ${line.slice(0, 80)}`);
    }
  }
  return [...byId.values()];
}

export function addResult(out, row) {
  mkdirSync(out, { recursive: true });
  const file = resultsPath(out);
  // after a line that was cut off
  const isWhole = !existsSync(file) || /(^|\n)$/.test(readFileSync(file, 'utf8').slice(-1));
  appendFileSync(file, `${isWhole ? '' : '\n'}${JSON.stringify(row)}\n`);
}

/** The same id means the same measurement: change a recipe's flags and it is measured again. */
export const idOf = (...parts) =>
  parts.map((part) => (typeof part === 'string' ? part : JSON.stringify(part))).join(' | ');

/** Top-1 of the reading that says most: features as they are, centred or whitened. Null without one. */
export const bestOf = ({ asIs, centred, whitened }) => {
  const values = [asIs, centred, whitened].filter((value) => typeof value === 'number');
  return values.length === 0 ? null : Math.max(...values);
};
