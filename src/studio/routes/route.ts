/** How a route of the table in api.ts is served: its input checked, its reply and its errors written in one way. */
import type { Context, Hono } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { z } from 'zod';
import { ConfigError, DinoError } from '../../errors.js';
import { stackText } from '../../printable.js';
import type { ApiError, BodyOf, ParamsOf, QueryOf, ReplyOf, RouteName } from '../api.js';
import type { EventHub } from '../event-hub.js';
import { type GivenFolders, StudioError } from '../files.js';
import type { JobRunner } from '../job-runner.js';
import type { RunWatcher } from '../run-watcher.js';
import type { Tasks } from '../tasks.js';
import type { Pictures } from '../thumbnails.js';

/** What every route works with. */
export interface Studio {
  version: string;
  folders: GivenFolders;
  events: EventHub;
  jobs: JobRunner;
  tasks: Tasks;
  runs: RunWatcher;
  pictures: Pictures;
}

/** A file of routes/ exports one of these. */
export type Routes = (app: Hono, studio: Studio) => void;

export interface RouteInput<K extends RouteName> {
  params: ParamsOf<K>;
  query: QueryOf<K>;
  body: BodyOf<K>;
  /** Aborted when the page has gone away. */
  signal: AbortSignal;
}

/** Schemas of what a route takes; a route with a query or a body needs one. */
export type RouteSchemas<K extends RouteName> = ([QueryOf<K>] extends [undefined]
  ? object
  : { query: z.ZodType<QueryOf<K>> }) &
  ([BodyOf<K>] extends [undefined] ? object : { body: z.ZodType<BodyOf<K>> });

/** Adds a route of the table. What the handler throws becomes an ApiError, see `errorReply`. */
export function route<K extends RouteName>(
  app: Hono,
  name: K,
  schemas: RouteSchemas<K>,
  handler: (input: RouteInput<K>) => Promise<ReplyOf<K>> | ReplyOf<K>,
): void {
  const [method, path] = name.split(' ') as [string, string];
  const { query, body } = schemas as { query?: z.ZodType; body?: z.ZodType };
  app.on(method, path, async (context) => {
    const reply: unknown = await handler({
      params: context.req.param(),
      query: query && parse(query, context.req.query(), 'query'),
      body: body && parse(body, await jsonBody(context), 'body'),
      signal: context.req.raw.signal,
    } as RouteInput<K>);
    return reply instanceof Uint8Array
      ? context.body(reply as Uint8Array<ArrayBuffer>, 200, { 'content-type': 'application/octet-stream' })
      : context.json(reply ?? null);
  });
}

async function jsonBody(context: Context): Promise<unknown> {
  // a form of another page could send text/plain, never this without asking first
  if (!/^application\/json\b/.test(context.req.header('content-type') ?? ''))
    throw new StudioError(415, 'expected application/json');
  try {
    return await context.req.json();
  } catch {
    throw new StudioError(400, 'the body is not JSON');
  }
}

function parse<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new StudioError(400, `${where}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** A failure as the page gets it. Our own bugs are printed in the terminal, and are no more than that in the page. */
export function errorReply(error: Error, context: Context): Response {
  const reply = (status: ContentfulStatusCode, body: ApiError['error']): Response =>
    context.json({ error: body } satisfies ApiError, status);
  if (error instanceof StudioError) return reply(error.status, { code: error.code, message: error.message });
  if (error instanceof ConfigError)
    return reply(422, { code: error.code, message: error.message, problems: [...error.problems] });
  if (error instanceof DinoError) return reply(422, { code: error.code, message: error.message });
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return reply(404, { code: 'GONE', message: 'The file is not there any more.' });
  if (syscall !== undefined) return reply(422, { code: code ?? 'SYSTEM', message: error.message });
  if (context.req.raw.signal.aborted) return reply(422, { code: 'ABORTED', message: 'the page went away' });
  console.error(stackText(error));
  return reply(500, {
    code: 'INTERNAL',
    message: 'internal: the terminal of the studio shows what went wrong',
  });
}
