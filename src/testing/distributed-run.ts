/** A small training for tests with several processes: its images, its command line, and its processes. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before } from 'node:test';
import type { TrainSettings } from '../run/settings.js';
import { makeImageFolder } from './image-folder.js';

export interface TestFolder {
  newRun: () => string;
  images: () => string;
  /** Arguments of `dino` for a training with these settings. */
  commandLine: (
    run: string,
    settings: Partial<TrainSettings>,
    more?: readonly string[],
    timeout?: number,
  ) => string[];
}

/** A folder with 18 images, created before the first test of a file and deleted after the last. */
export function testFolder(): TestFolder {
  let folder = '';
  let count = 0;
  before(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'dino-ddp-'));
    await makeImageFolder(path.join(folder, 'images'), { classes: 2, perClass: 9 });
  });
  after(() => rmSync(folder, { recursive: true, force: true }));
  return {
    newRun: () => path.join(folder, `run-${count++}`),
    images: () => path.join(folder, 'images'),
    commandLine: (run, settings, more = [], timeout = 20) => {
      const file = path.join(folder, `settings-${count++}.json`);
      writeFileSync(file, JSON.stringify(settings));
      return [
        ...['train', path.join(folder, 'images'), '--output', run, '--preset', 'paper', '--config', file],
        ...['--dist-timeout', String(timeout), ...more],
      ];
    },
  };
}

/** Pids by rank of the descendants of a process that have a RANK, found in /proc. */
export function ranksBelow(pid: number): Map<number, number> {
  const parents = new Map<number, number>();
  const rankOf = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
      const rank = /(?:^|\0)RANK=(\d+)/.exec(readFileSync(`/proc/${name}/environ`, 'utf8'))?.[1];
      const isDino = readFileSync(`/proc/${name}/cmdline`, 'utf8').includes('dino.js');
      if (rank !== undefined && isDino) rankOf.set(Number(name), Number(rank));
    } catch {
      // it has ended in the meantime
    }
  }
  const isBelow = (child: number): boolean => {
    for (let at = parents.get(child); at !== undefined && at > 1; at = parents.get(at))
      if (at === pid) return true;
    return false;
  };
  return new Map([...rankOf].filter(([child]) => isBelow(child)).map(([child, rank]) => [rank, child]));
}
