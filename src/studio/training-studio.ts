/**
 * The studio that `dino train --studio` opens, in a process of its own: the training never waits for a reader, and the studio
 * ends with the training's process, however that ends. Where somebody sits before the terminal, that process stays after the
 * training has finished, so that the studio does.
 */
import { type ChildProcess, fork } from 'node:child_process';
import os from 'node:os';
import { fileURLToPath } from 'node:url';

/** What the studio's process reports. */
export type FromStudio = { url: string; page: string | null } | { problem: string };

/** Lower priority than normal: the training comes first, and a page waits a few milliseconds for the studio. */
const NICENESS = 10;

export class TrainingStudio {
  readonly #child: ChildProcess;

  /**
   * @param report - Called with the link, or with the reason why there is none.
   * @param opens - Also writes a page to start a browser with, see invitation.ts.
   */
  constructor(folders: readonly string[], report: (message: FromStudio) => void, opens = false) {
    const args = [opens ? 'page' : 'no-page', ...folders];
    this.#child = fork(fileURLToPath(new URL('./training-studio-process.js', import.meta.url)), args, {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    });
    this.#child.once('message', (message) => report(message as FromStudio));
    this.#child.once('error', (error) => report({ problem: error.message }));
    try {
      if (this.#child.pid !== undefined) os.setPriority(this.#child.pid, NICENESS);
    } catch {
      // not every system has priorities
    }
    // it doesn't keep the training's process running
    this.#child.unref();
    this.#child.channel?.unref();
  }

  /** Waits, and keeps this process running, until `signal` is aborted or the studio's process has ended. */
  async stay(signal: AbortSignal): Promise<void> {
    this.#child.ref();
    await new Promise<void>((resolve) => {
      const isOver = this.#child.exitCode !== null || this.#child.signalCode !== null || signal.aborted;
      this.#child.once('exit', () => resolve());
      signal.addEventListener('abort', () => resolve(), { once: true });
      if (isOver) resolve();
    });
    this.#child.unref();
  }

  stop(): void {
    if (this.#child.connected) this.#child.disconnect();
  }
}
