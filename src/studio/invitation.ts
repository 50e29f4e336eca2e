/**
 * How a browser is let in without the token on a command line, where every user of the machine could read it in the list of
 * processes. A page of the user's own (0600, in a folder of 0700) leads to the studio with a code that is good for one use
 * within two minutes; the browser is started with the page's path. The page is deleted once it was used. Whoever has the
 * code afterwards, from the browser's history say, gets nothing, and the terminal is told.
 */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

/** A browser that is not running yet may take its time. */
const VALID_MS = 2 * 60_000;

/** What became of a code that was shown. */
export type CodeUse = 'opened' | 'again' | 'late' | 'unknown';

interface Issued {
  until: number;
  wasUsed: boolean;
  told: (use: CodeUse) => void;
}

const digest = (code: string): string => createHash('sha256').update(code).digest('hex');

/** The codes of a studio. */
export class OneTimeCodes {
  /** By their digests: looking one up takes as long whatever is asked for. */
  readonly #issued = new Map<string, Issued>();

  constructor(readonly validMs = VALID_MS) {}

  /** @param told - Called whenever somebody comes with this code. */
  issue(told: (use: CodeUse) => void = () => undefined): string {
    const code = randomBytes(32).toString('base64url');
    this.#issued.set(digest(code), { until: performance.now() + this.validMs, wasUsed: false, told });
    return code;
  }

  /** Uses a code up; 'opened' lets in. */
  use(code: string): CodeUse {
    const issued = this.#issued.get(digest(code));
    if (issued === undefined) return 'unknown';
    const use = issued.wasUsed ? 'again' : performance.now() > issued.until ? 'late' : 'opened';
    issued.wasUsed = true;
    issued.told(use);
    return use;
  }
}

/** What of a studio is needed to let somebody in. */
export interface Inviting {
  /** A link that opens it once. */
  invite(told: (use: CodeUse) => void): string;
}

/** Whether a folder is there, and nobody else's. */
function isPrivate(folder: string | undefined): folder is string {
  if (folder === undefined || !path.isAbsolute(folder)) return false;
  const stat = statSync(folder, { throwIfNoEntry: false });
  return (
    stat !== undefined && stat.isDirectory() && stat.uid === process.getuid?.() && (stat.mode & 0o077) === 0
  );
}

/**
 * A snap's browser reads neither hidden folders nor the system's temporary one, but a folder of its own in the home: the
 * default browser of Ubuntu is one. Null where the default browser is none.
 */
async function folderOfSnap(): Promise<string | null> {
  if (process.platform !== 'linux') return null;
  try {
    const { stdout } = await promisify(execFile)('xdg-settings', ['get', 'default-web-browser'], {
      timeout: 2000,
    });
    const snap = /^([a-z0-9-]+)_[\w-]+\.desktop$/.exec(stdout.trim())?.[1]; // SNAP_PROGRAM.desktop
    const folder = path.join(os.homedir(), 'snap', snap ?? '', 'common');
    return snap !== undefined && statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true
      ? folder
      : null;
  } catch {
    return null;
  }
}

export interface OpeningPage {
  /** What the browser is started with. */
  file: string;
  /** Deletes it; it does so itself once it was used, and when the process ends. */
  remove(): void;
}

const page = (link: string): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0;url=${link}">
<title>dino studio</title>
<p><a href="${link}">Open the studio</a></p>
</html>
`;

/**
 * Writes a page that opens a studio once.
 * @param warn - Told when somebody comes with its code a second time.
 * @throws An error of the file system's when it can't be written.
 */
export async function writeOpeningPage(studio: Inviting, warn: (line: string) => void): Promise<OpeningPage> {
  const runtime = process.env['XDG_RUNTIME_DIR'];
  const base = (await folderOfSnap()) ?? (isPrivate(runtime) ? runtime : os.tmpdir());
  const folder = mkdtempSync(path.join(base, 'dino-studio-')); // 0700, and new
  const remove = (): void => {
    clearTimeout(timer);
    process.off('exit', remove);
    rmSync(folder, { recursive: true, force: true });
  };
  const timer = setTimeout(remove, VALID_MS).unref();
  process.on('exit', remove);
  const link = studio.invite((use) => {
    if (use === 'again') {
      warn(
        'somebody came with the code by which the browser was opened a second time, and was refused: you, going back in ' +
          'the browser, or somebody who has seen it',
      );
    }
    remove();
  });
  const file = path.join(folder, 'open-studio.html');
  try {
    writeFileSync(file, page(link), { flag: 'wx', mode: 0o600 });
  } catch (error) {
    remove();
    throw error;
  }
  return { file, remove };
}
