/** Progress of a command: a bar on a terminal, a line at every tenth elsewhere. */
import cliProgress from 'cli-progress';
import type { Output } from './output.js';

/** Shows that `done` of `total` is done. */
export type Counter = (what: string, done: number, total: number) => void;

export function counter(io: Output): Counter {
  let lastTenth = -1;
  let lastWhat = '';
  let bar: cliProgress.SingleBar | null = null;
  io.atEnd(() => bar?.stop());
  return (what, done, total) => {
    if (io.isSilent) return;
    if (process.stderr.isTTY) {
      if (bar === null) {
        bar = new cliProgress.SingleBar({
          stream: process.stderr,
          format: '{bar} {what}: {value}/{total} | {eta_formatted} left',
          barsize: 24,
          hideCursor: true,
          linewrap: false,
          fps: 8,
          gracefulExit: false, // the command handles Ctrl-C
        });
        bar.start(total, done, { what });
      } else {
        bar.update(done, { what });
      }
      if (done >= total) {
        bar.stop();
        bar = null;
      }
      return;
    }
    const tenth = Math.floor((10 * done) / total);
    if (what === lastWhat && tenth === lastTenth) return;
    lastTenth = tenth;
    lastWhat = what;
    io.note(`${what}: ${done}/${total}`);
  };
}
