/** `dino studio`: serves the page that shows runs and models, and opens it; see src/studio/server.ts. */
import type { Command } from 'commander';
import { statSync } from 'node:fs';
import { type FromStudio, StudioBeside } from '../../studio/training-studio.js';
import type { RunningStudio } from '../../studio/index.js';
import { type CodeUse, writeOpeningPage } from '../../studio/invitation.js';
import {
  addExamples,
  check,
  Interrupted,
  interruptSignal,
  type Invocation,
  type Output,
  readNumber,
} from '../command.js';

export function define(command: Command): void {
  command
    .argument('[folder...]', 'folders of runs and images; nothing outside them is read (default: this one)')
    .option('--port <n>', 'port to listen on; 0 for any (default: the first free one from 5170)')
    .option(
      '--host <address>',
      'address to listen on; any other than loopback lets in who has the token',
      '127.0.0.1',
    )
    .option('--no-open', "print the link, and don't open a browser");
  addExamples(command, 'dino studio runs photos', 'dino studio runs --host 0.0.0.0 --port 8080 --no-open');
}

/**
 * Opens the person's browser on a page; where there is none, the printed link stands. Other users of the machine see what
 * it is started with: a path, never the link.
 */
async function openInBrowser(page: string): Promise<boolean> {
  const { default: open } = await import('open');
  try {
    const child = await open(page);
    return await new Promise<boolean>((resolve) => {
      child.once('error', () => resolve(false));
      // a browser that can't start ends at once
      child.once('exit', (code) => resolve(code === 0));
      setTimeout(() => resolve(true), 1000).unref();
    });
  } catch {
    return false;
  }
}

/**
 * For `dino train --studio`: a studio of the run and its images in a process of its own.
 * @returns A function that ends it.
 */
export function showTraining(run: string, images: string | undefined, io: Output): () => void {
  const isFolder =
    images !== undefined && (statSync(images, { throwIfNoEntry: false })?.isDirectory() ?? false);
  // a training in a script or a queue has nobody before it
  const opens = !io.json && process.stderr.isTTY;
  const tell = (told: FromStudio): void => {
    if ('problem' in told) return io.warn(`no studio: ${told.problem}`);
    io.note(`studio: ${told.url}`);
    if (told.page !== null) void openInBrowser(told.page);
  };
  const studio = new StudioBeside([run, ...(isFolder ? [images] : [])], tell, opens);
  return () => studio.stop();
}

/** Milliseconds after which a browser that has not come is spoken of. */
const PATIENCE_MS = 15_000;

/** Opens the browser on a page of its own, which lets it in once. */
async function openOnce(studio: RunningStudio, io: Output): Promise<void> {
  let hasCome = false;
  const inviting = {
    invite: (told: (use: CodeUse) => void) =>
      studio.invite((use) => {
        hasCome = true;
        told(use);
      }),
  };
  const page = await writeOpeningPage(inviting, (line) => io.warn(line)).catch(() => null);
  if (page === null || !(await openInBrowser(page.file))) {
    page?.remove();
    io.note('no browser could be opened: open the link yourself');
    return;
  }
  const remind = (): void => {
    if (!hasCome) io.note('the browser has not come yet; where it shows an error, open the link yourself');
  };
  setTimeout(remind, PATIENCE_MS).unref();
}

export async function run(invocation: Invocation): Promise<void> {
  const { args, options, io } = invocation;
  const port =
    options['port'] === undefined ? undefined : readNumber(invocation, 'port', { min: 0, max: 65535 });
  check(invocation);
  const host = options['host'] as string;
  const { isLoopback, startStudio } = await import('../../studio/index.js');
  const folders = args.length === 0 ? ['.'] : args;
  const studio = await startStudio({ folders, host, ...(port === undefined ? {} : { port }) });
  let stop = (): void => undefined;
  const interrupt = interruptSignal(() => stop());
  try {
    const { url, origin } = studio;
    io.result(
      { url, origin, port: studio.port, token: studio.token, folders },
      `studio of ${folders.join(', ')}: ${url}`,
    );
    if (!isLoopback(host)) {
      io.warn(
        'others on the network can reach this studio: whoever has its link can read these folders and start trainings, ' +
          'and the connection is not encrypted',
      );
    }
    io.note('Ctrl-C ends it');
    if (options['open'] === true && !io.json) await openOnce(studio, io);
    await new Promise<void>((resolve) => {
      stop = resolve;
      if (interrupt.signal.aborted) resolve();
    });
    throw new Interrupted('interrupted');
  } finally {
    interrupt.release();
    await studio.close();
  }
}
