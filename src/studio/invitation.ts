/**
 * How a browser is let in without the token on a command line, where every user of the machine could read it in the list of
 * processes. A page that only the user can read (0600, in a folder of 0700) leads to the studio with a code that can be used
 * once within two minutes; the browser is started with the page's path. The page is deleted once it was used. Whoever has
 * the code afterwards, say from the browser's history, is refused, and the terminal says so.
 */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

/** A browser that is not running yet may take its time. */
const VALID_MS = 2 * 60_000;

/** What using a code led to. */
export type CodeUse = 'opened' | 'again' | 'late' | 'unknown';

interface Issued {
  until: number;
  wasUsed: boolean;
  onUse: (use: CodeUse) => void;
}

const digest = (code: string): string => createHash('sha256').update(code).digest('hex');

/** The codes of a studio. */
export class OneTimeCodes {
  /** By their digests, so that the time of a look-up says nothing about a code. */
  readonly #issued = new Map<string, Issued>();

  constructor(readonly validMs = VALID_MS) {}

  /** @param onUse - Called whenever this code is used. */
  issue(onUse: (use: CodeUse) => void = () => undefined): string {
    const code = randomBytes(32).toString('base64url');
    this.#issued.set(digest(code), { until: performance.now() + this.validMs, wasUsed: false, onUse });
    return code;
  }

  /** Uses up a code; 'opened' lets the browser in. */
  use(code: string): CodeUse {
    const issued = this.#issued.get(digest(code));
    if (issued === undefined) return 'unknown';
    const use = issued.wasUsed ? 'again' : performance.now() > issued.until ? 'late' : 'opened';
    issued.wasUsed = true;
    issued.onUse(use);
    return use;
  }
}

/** The part of a studio that is needed to let a browser in. */
export interface Inviting {
  /** A link that opens it once. */
  invite(onUse: (use: CodeUse) => void): string;
}

/** Whether a folder is there and accessible only to this user. */
function isPrivate(folder: string | undefined): folder is string {
  if (folder === undefined || !path.isAbsolute(folder)) return false;
  const stat = statSync(folder, { throwIfNoEntry: false });
  return (
    stat !== undefined && stat.isDirectory() && stat.uid === process.getuid?.() && (stat.mode & 0o077) === 0
  );
}

/**
 * A browser that is a snap, as Ubuntu's default one is, reads neither hidden folders nor the system's temporary folder, but
 * has a folder of its own in the home. Null where the default browser is not a snap.
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
  /** The path that the browser is started with. */
  file: string;
  /** Deletes the page. That also happens once it was used, and when the process ends. */
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
 * @param warn - Called when its code is used a second time.
 * @throws The file system's error when it can't be written.
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
        'the code with which the browser was opened was used a second time, and refused: by you, going back in the ' +
          'browser, or by somebody who has seen it',
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
