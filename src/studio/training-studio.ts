/**
 * A studio beside a training, in a process of its own: the training never waits for a reader, and the studio ends with it,
 * however it ends.
 */
import { type ChildProcess, fork } from 'node:child_process';
import os from 'node:os';
import { fileURLToPath } from 'node:url';

/** What the process of the studio tells. */
export type FromStudio = { url: string; page: string | null } | { problem: string };

/** Lower than normal: the training goes first, and what the studio does for a page waits a few milliseconds. */
const NICENESS = 10;

export class TrainingStudio {
  readonly #child: ChildProcess;

  /**
   * @param tell - Told the link, or why there is none.
   * @param opens - Also writes a page for a browser to be started with, see invitation.ts.
   */
  constructor(folders: readonly string[], tell: (told: FromStudio) => void, opens = false) {
    const args = [opens ? 'page' : 'no-page', ...folders];
    this.#child = fork(fileURLToPath(new URL('./training-studio-process.js', import.meta.url)), args, {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    });
    this.#child.once('message', (message) => tell(message as FromStudio));
    this.#child.once('error', (error) => tell({ problem: error.message }));
    try {
      if (this.#child.pid !== undefined) os.setPriority(this.#child.pid, NICENESS);
    } catch {
      // a system that has no such thing
    }
    // it doesn't keep the training's process
    this.#child.unref();
    this.#child.channel?.unref();
  }

  stop(): void {
    if (this.#child.connected) this.#child.disconnect();
  }
}
