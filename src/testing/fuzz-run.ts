/** Mutants of a run folder: see fuzz-folder.ts. The checksums of its checkpoints are corrected after most changes. */
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { saveEvaluation } from '../eval/save-evaluation.js';
import { listCheckpoints } from '../run/checkpoint-files.js';
import { changeRunNote } from '../run/run-note.js';
import { type FolderFuzzOptions, type FolderFuzzResult, fuzzFolder } from './fuzz-folder.js';
import { trainWatchedRun, watchedPaths } from './watched-run.js';

/** Updates lengths and checksums in every state.json to match the files, where they can still be read. */
function mend(run: string): void {
  const checkpoints = path.join(run, 'checkpoints');
  if (lstatSync(checkpoints, { throwIfNoEntry: false })?.isDirectory() !== true) return;
  for (const name of readdirSync(checkpoints)) {
    const folder = path.join(checkpoints, name);
    const state = path.join(folder, 'state.json');
    if (lstatSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) continue;
    const about = lstatSync(state, { throwIfNoEntry: false });
    if (about?.isFile() !== true || about.size > 2 ** 20) continue; // don't read a sparse file of 64 GiB
    try {
      const value = JSON.parse(readFileSync(state, 'utf8')) as {
        files: Record<string, { bytes: number; sha256: string }>;
      };
      for (const [file, expected] of Object.entries(value.files)) {
        const place = path.join(folder, file);
        const stat = lstatSync(place, { throwIfNoEntry: false });
        if (stat?.isFile() !== true || stat.size > 2 ** 30) continue;
        const bytes = readFileSync(place);
        Object.assign(expected, {
          bytes: bytes.length,
          sha256: createHash('sha256').update(bytes).digest('hex'),
        });
      }
      writeFileSync(state, JSON.stringify(value));
    } catch {
      // already hostile
    }
  }
}

/** Mutates a briefly trained run with two watched images, and reads each mutant in every way. */
export async function fuzzRun(
  folder: string,
  options: Pick<FolderFuzzOptions, 'count' | 'seed' | 'onFailure'>,
): Promise<FolderFuzzResult> {
  await trainWatchedRun(folder);
  const { run, images } = watchedPaths(folder);
  const newest = listCheckpoints(run).at(-1)!.folder;
  saveEvaluation(path.join(newest, 'teacher.safetensors'), 'knn', { top1: 50 });
  changeRunNote(run, { text: 'the first one' });
  if (!existsSync(path.join(run, 'skipped.jsonl')))
    writeFileSync(path.join(run, 'skipped.jsonl'), '{"path":"a.png","reason":"damaged"}\n');
  process.env['FUZZ_IMAGES'] = path.join(images, 'class-1');
  const files = readdirSync(run, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(run, path.join(entry.parentPath ?? entry.path, entry.name)));
  return fuzzFolder({
    folder: run,
    // folders are replaced too: by links, FIFOs, files
    files: [...files, 'lock', 'checkpoints', 'watch', 'evaluations', path.relative(run, newest)],
    reader: new URL('./read-run.js', import.meta.url),
    mend,
    scratch: path.join(folder, 'scratch'),
    ...options,
  });
}
