/** `dino studio`: serves the page that shows runs and models, and opens it; see src/studio/server.ts. */
import { statSync } from 'node:fs';
import { z } from 'zod';
import type { RunningStudio } from '../../studio/index.js';
import { type CodeUse, writeOpeningPage } from '../../studio/invitation.js';
import { type FromStudio, TrainingStudio } from '../../studio/training-studio.js';
import { defineCommand } from '../command.js';
import { pick, whole } from '../flags.js';
import { interruptible, interruptSignal } from '../interrupt.js';
import { Interrupted } from '../outcome.js';
import type { Output } from '../output.js';

/**
 * Opens the user's browser on a page; where there is none, the link has been printed. Other users of the machine can see the
 * browser's arguments: a path, never the link.
 */
async function openInBrowser(page: string): Promise<boolean> {
  const { default: open } = await import('open');
  try {
    const child = await open(page);
    return await new Promise<boolean>((resolve) => {
      child.once('error', () => resolve(false));
      // a browser that can't start exits at once
      child.once('exit', (code) => resolve(code === 0));
      setTimeout(() => resolve(true), 1000).unref();
    });
  } catch {
    return false;
  }
}

/** Whether somebody sits before the terminal who can end the studio: not in a script, a queue or a CI job. */
const isAttended = (io: Output): boolean =>
  !io.json &&
  process.stdin.isTTY &&
  process.stderr.isTTY &&
  ['', 'false', undefined].includes(process.env['CI']);

/** The studio that `dino train --studio` shows a training in. */
export interface ShownTraining {
  /** Once the training has finished: waits until Ctrl-C, if somebody is there to press it. */
  stay(): Promise<void>;
  close(): void;
}

/** For `dino train --studio`: a studio of the run and its images in a process of its own. */
export function showTraining(run: string, images: string | undefined, io: Output): ShownTraining {
  const isFolder =
    images !== undefined && (statSync(images, { throwIfNoEntry: false })?.isDirectory() ?? false);
  // nobody sits before a training in a script or a queue
  const opens = !io.json && process.stderr.isTTY;
  let url: string | null = null;
  let isBroken = false;
  const report = (message: FromStudio): void => {
    if ('problem' in message) {
      isBroken = true;
      return io.warn(`no studio: ${message.problem}`);
    }
    ({ url } = message);
    io.note(`studio: ${url}`);
    if (message.page !== null) void openInBrowser(message.page);
  };
  const studio = new TrainingStudio([run, ...(isFolder ? [images] : [])], report, opens);
  return {
    async stay() {
      if (isBroken || !isAttended(io)) return;
      // a training of a few steps ends before its studio has begun; the link is printed when it has
      io.note(url === null ? 'the studio stays open' : `the studio stays open: ${url}`);
      io.note('Ctrl-C ends it');
      await interruptible(
        () => undefined,
        (signal) => studio.stay(signal),
      );
    },
    close: () => studio.stop(),
  };
}

/** After this many milliseconds without a visit of the browser, a note is printed. */
const PATIENCE_MS = 15_000;

/** Opens the browser on a page that lets it in once. */
async function openOnce(studio: RunningStudio, io: Output): Promise<void> {
  let hasConnected = false;
  const inviting = {
    invite: (onUse: (use: CodeUse) => void) =>
      studio.invite((use) => {
        hasConnected = true;
        onUse(use);
      }),
  };
  const page = await writeOpeningPage(inviting, (line) => io.warn(line)).catch(() => null);
  if (page === null || !(await openInBrowser(page.file))) {
    page?.remove();
    io.note('no browser could be opened: open the link yourself');
    return;
  }
  const remind = (): void => {
    if (!hasConnected)
      io.note('the browser has not connected yet; if it shows an error, open the link yourself');
  };
  setTimeout(remind, PATIENCE_MS).unref();
}

export const command = defineCommand({
  args: {
    folder: z
      .array(z.string())
      .min(1)
      .default(['.'])
      .describe('folders of runs and images; nothing outside them is read (default: this one)'),
  },
  options: {
    port: whole(0, 65535)
      .optional()
      .describe('port to listen on; 0 for any (default: the first free one from 5170)'),
    host: z.string().default('127.0.0.1').meta({
      description: 'address to listen on; any other than loopback lets in whoever has the token',
      placeholder: '<address>',
    }),
    open: z.boolean().default(true).describe("print the link, and don't open a browser"),
  },
  examples: ['dino studio runs photos', 'dino studio runs --host 0.0.0.0 --port 8080 --no-open'],

  async run({ args: { folder: folders }, options, io }) {
    const { isLoopback, startStudio } = await import('../../studio/index.js');
    const studio = await startStudio({ folders, ...pick(options, 'host', 'port') });
    let stop = (): void => undefined;
    const interrupt = interruptSignal(() => stop());
    try {
      const { url, origin, port, token } = studio;
      io.result({ url, origin, port, token, folders }, `studio of ${folders.join(', ')}: ${url}`);
      if (!isLoopback(options.host)) {
        io.warn(
          'others on the network can reach this studio: whoever has its link can read these folders and start trainings, ' +
            'and the connection is not encrypted',
        );
      }
      io.note('Ctrl-C ends it');
      if (options.open && !io.json) await openOnce(studio, io);
      await new Promise<void>((resolve) => {
        stop = resolve;
        if (interrupt.signal.aborted) resolve();
      });
      throw new Interrupted('interrupted');
    } finally {
      interrupt.release();
      await studio.close();
    }
  },
});
