/**
 * The studio: a server on this machine that shows runs and models in a browser. It never loads libtorch itself (what needs
 * it runs in another process, job-runner.ts), so that it answers at once whatever is being computed.
 */
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { getRequestListener } from '@hono/node-server';
import { serveStatic } from '@hono/node-server/serve-static';
import { Hono } from 'hono';
import { z } from 'zod';
import { checkCall, optionsOf, paths, text } from '../plain/check-options.js';
import { EngineError, DataError } from '../errors.js';
import { packageVersion } from '../version.js';
import { EventHub } from './event-hub.js';
import { GivenFolders, StudioError } from './files.js';
import { JobRunner } from './job-runner.js';
import { allRoutes } from './routes/index.js';
import { errorReply, type Studio } from './routes/route.js';
import { RunWatcher } from './run-watcher.js';
import { type CodeUse, OneTimeCodes } from './invitation.js';
import { guard, makeToken, type SecurityOptions } from './security.js';
import { Tasks } from './tasks.js';
import { Pictures } from './thumbnails.js';

/** Pages have this long to hear that the studio ends. */
const FAREWELL_MS = 100;

/** Where a studio is looked for first; the next ones are tried when it is taken. */
export const DEFAULT_PORT = 5170;
const PORTS_TRIED = 50;

const pageFolder = fileURLToPath(new URL('../web', import.meta.url));

export interface StudioOptions {
  /** Folders of runs and images; nothing outside them is read. Default: the current one. */
  folders?: readonly string[];
  /** Default: the first free one from 5170 on; 0 is any. One that is given and taken is an error. */
  port?: number;
  /** Address to listen on. Default 127.0.0.1: only this machine. */
  host?: string;
}

export interface RunningStudio {
  /** What to open: holds the token. */
  url: string;
  /** Without the token. */
  origin: string;
  port: number;
  token: string;
  /**
   * A link that opens the studio once, within two minutes: for a browser's command line or a page, which others may read
   * afterwards.
   * @param onUse - Called on every use of the link, also on a second one, which is refused.
   */
  invite(onUse?: (use: CodeUse) => void): string;
  /** Ends the server and its computations; trainings that it started continue. */
  close(): Promise<void>;
}

function buildApp(studio: Studio, secrets: SecurityOptions): Hono {
  const app = new Hono();
  app.onError(errorReply);
  app.use(async (context, next) => {
    await next();
    // a body that was refused unread must not be taken for the next request
    const { method, raw } = context.req;
    if (method !== 'GET' && method !== 'HEAD' && raw.body !== null && !raw.bodyUsed)
      context.header('connection', 'close');
  });
  app.use(guard(secrets));
  for (const routes of allRoutes) routes(app, studio);
  app.all('/api/*', () => {
    throw new StudioError(404, 'The studio has no such address.');
  });
  // the names of these files change with their content
  app.use('/assets/*', async (context, next) => {
    await next();
    context.header('cache-control', 'private, max-age=31536000, immutable');
  });
  app.use(serveStatic({ root: pageFolder }));
  return app;
}

async function listen(server: Server, host: string, port: number | undefined): Promise<number> {
  const tries = port === undefined ? PORTS_TRIED : 1;
  for (let n = 0; n < tries; n++) {
    const wanted = port ?? DEFAULT_PORT + n;
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(wanted, host, () => {
          server.off('error', reject);
          resolve();
        });
      });
      return (server.address() as AddressInfo).port;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'EADDRINUSE') throw new DataError(`Can't listen on ${host}: ${message}`, { cause: error });
    }
  }
  throw new DataError(
    port === undefined
      ? `Ports ${DEFAULT_PORT} to ${DEFAULT_PORT + PORTS_TRIED - 1} are all taken. Give a free one with --port.`
      : `Port ${port} is taken, perhaps by another studio. Give another one, or leave out --port.`,
  );
}

const studioOptions = optionsOf<StudioOptions>(
  {},
  { folders: paths, port: z.int().min(0).max(65535), host: text },
);

/**
 * Starts a studio.
 *
 * @throws DataError when one of `folders` is not a folder or no port is free, EngineError when the page was not built.
 */
export async function startStudio(options: StudioOptions = {}): Promise<RunningStudio> {
  checkCall('startStudio()', ['options', studioOptions, options]);
  const { folders = ['.'], host = '127.0.0.1' } = options;
  if (!existsSync(path.join(pageFolder, 'index.html'))) {
    throw new EngineError(
      'The page of the studio is not built: run `npm run setup` in the folder of dino-ts.',
    );
  }
  const events = new EventHub();
  const given = new GivenFolders(folders);
  const jobs = new JobRunner(given.real);
  const studio: Studio = {
    version: packageVersion,
    folders: given,
    events,
    jobs,
    tasks: new Tasks(jobs, events),
    runs: new RunWatcher(given, events),
    pictures: new Pictures({ readBelow: given.real }),
  };
  const token = makeToken();
  const codes = new OneTimeCodes();
  const listener = getRequestListener(buildApp(studio, { token, host, codes }).fetch, {
    overrideGlobalObjects: false,
  });
  const server = createServer((request, response) => void listener(request, response));
  const port = await listen(server, host, options.port);
  // a server that listens on every address is opened on loopback
  const shown = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  const origin = `http://${shown.includes(':') ? `[${shown}]` : shown}:${port}`;
  return {
    url: `${origin}/open?token=${token}`,
    origin,
    port,
    token,
    invite: (onUse) => `${origin}/open?code=${codes.issue(onUse)}`,
    async close() {
      if (events.isHeard) {
        // how trainings ended in the meantime
        events.send({ type: 'runs', runs: await studio.runs.refresh().catch(() => studio.runs.list()) });
        events.send({ type: 'end' });
        await sleep(FAREWELL_MS);
      }
      studio.runs.close();
      studio.tasks.close();
      jobs.close();
      studio.pictures.close();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}
