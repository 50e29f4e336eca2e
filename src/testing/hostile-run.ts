/** An untrusted run, stopped after four of nine steps, with everything that a run can contain. */
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { train } from '../train/train.js';
import { makeImageFolder } from './image-folder.js';
import { TINY_SETTINGS } from './tiny-run.js';

/** Text that must never reach a terminal unescaped: it clears the screen, and looks like a line of ours. */
export const HOSTILE = 'x\u001b[2J\u009b31m\rdino: forged\ndino: forged\u2028';

/** Matches a raw control character, or a line that pretends to be ours. */
export const FORGED = /[^\P{Cc}\n\t]|^\s*(dino: )?forged/mu;

/** Makes `images` and trains `run` in `top`, with a watched image, an evaluation and a skipped image. */
export async function makeRun(top: string): Promise<{ images: string; run: string }> {
  const [images, run] = [path.join(top, 'images'), path.join(top, 'run')];
  await makeImageFolder(images, { classes: 2, perClass: 9 });
  const controller = new AbortController();
  await train({
    ...{ images, output: run, signal: controller.signal },
    settings: { ...TINY_SETTINGS, threads: 1, watchImages: [path.join(images, 'class-0', 'image-0.png')] },
    onEvent: (event) => {
      if (event.type === 'step' && event.step === 4) controller.abort();
    },
  });
  mkdirSync(path.join(run, 'evaluations'));
  writeFileSync(path.join(run, 'evaluations', 'knn.json'), '{"evaluation":"knn"}\n');
  writeFileSync(path.join(run, 'skipped.jsonl'), '{"path":"a.jpg","reason":"none"}\n');
  writeFileSync(path.join(run, 'studio.log'), 'before\n');
  return { images, run };
}

/** Every name below a folder with its kind and contents: if this is unchanged, nothing was written there. */
export function contents(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(folder, { recursive: true }) as string[]) {
    const file = path.join(folder, name);
    const stat = lstatSync(file);
    found[name] = stat.isFile()
      ? createHash('sha256').update(readFileSync(file)).digest('hex')
      : stat.isSymbolicLink()
        ? readlinkSync(file)
        : 'folder';
  }
  return found;
}
