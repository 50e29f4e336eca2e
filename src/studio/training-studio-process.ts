/** The process in which `dino train --studio` shows its training; see training-studio.ts. */
import type { FromStudio } from './training-studio.js';
import { writeOpeningPage } from './invitation.js';
import { startStudio } from './server.js';

const tell = (message: FromStudio): void => {
  process.send?.(message);
};
// Ctrl-C and the terminal's end are meant for the training, which ends this process when it is done
for (const name of ['SIGINT', 'SIGHUP'] as const) process.on(name, () => undefined);
let close = (): Promise<void> => Promise.resolve();
process.on('disconnect', () => void close().finally(() => process.exit(0)));
try {
  const [how, ...folders] = process.argv.slice(2);
  const studio = await startStudio({ folders });
  close = () => studio.close();
  const warn = (line: string): void => void process.stderr.write(`warning: ${line}\n`);
  const page = how === 'page' ? await writeOpeningPage(studio, warn).catch(() => null) : null;
  tell({ url: studio.url, page: page?.file ?? null });
} catch (error) {
  tell({ problem: (error as Error).message });
  process.disconnect();
}
