/** The process of a studio beside a training; see beside.ts. */
import type { FromStudio } from './beside.js';
import { startStudio } from './server.js';

const tell = (message: FromStudio): void => {
  process.send?.(message);
};
// the terminal's Ctrl-C, or its end, is meant for the training, which has this process end when it is done
for (const name of ['SIGINT', 'SIGHUP'] as const) process.on(name, () => undefined);
process.on('disconnect', () => process.exit(0));
try {
  const { url } = await startStudio({ folders: process.argv.slice(2) });
  tell({ url });
} catch (error) {
  tell({ problem: (error as Error).message });
  process.disconnect();
}
