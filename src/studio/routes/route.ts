/** How a route of the table in studio-api.ts is served: its input checked, its reply and its errors written in one way. */
import type { Context, Hono } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { z } from 'zod';
import { problemsOf } from '../../plain/check-options.js';
import { ConfigError, DinoError } from '../../errors.js';
import { stackText } from '../../plain/printable.js';
import type {
  ApiError,
  BodyOf,
  ParamsOf,
  QueryOf,
  ReplyOf,
  RouteName,
} from '../../plain/studio-api/index.js';
import type { EventHub } from '../event-hub.js';
import { type GivenFolders, StudioError } from '../files.js';
import { BODY_LIMIT } from '../../plain/limits.js';
import type { JobRunner } from '../job-runner.js';
import type { RunWatcher } from '../run-watcher.js';
import type { Tasks } from '../tasks.js';
import type { Pictures } from '../thumbnails.js';

/** What every route has to work with. */
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
  ([BodyOf<K>] extends [undefined] ? object : { body: z.ZodType<BodyOf<K>> }) & {
    /** The most bytes of a body; default BODY_LIMIT. */
    limit?: number;
  };

/** Adds a route of the table. What the handler throws becomes an ApiError, see `errorReply`. */
export function route<K extends RouteName>(
  app: Hono,
  name: K,
  schemas: RouteSchemas<K>,
  handler: (input: RouteInput<K>) => Promise<ReplyOf<K>> | ReplyOf<K>,
): void {
  const [method, path] = name.split(' ') as [string, string];
  const { query, body } = schemas as { query?: z.ZodType; body?: z.ZodType };
  const { limit = BODY_LIMIT } = schemas;
  app.on(method, path, async (context) => {
    const bytes = method === 'POST' ? await bodyBytes(context, limit) : new Uint8Array(0);
    const reply: unknown = await handler({
      params: context.req.param(),
      query: query && parse(query, context.req.query(), 'query'),
      body: body && parse(body, jsonOf(context, bytes), 'body'),
      signal: context.req.raw.signal,
    } as RouteInput<K>);
    return reply instanceof Uint8Array
      ? context.body(reply as Uint8Array<ArrayBuffer>, 200, { 'content-type': 'application/octet-stream' })
      : context.json(reply ?? null);
  });
}

/** A picture: the same file may change, so that it is kept only for a minute. */
export const pictureReply = (
  context: Context,
  bytes: Uint8Array<ArrayBuffer>,
  type: 'image/png' | 'image/webp',
): Response => context.body(bytes, 200, { 'content-type': type, 'cache-control': 'private, max-age=60' });

/**
 * A body's bytes, whether its length is declared or it comes in chunks of unknown number.
 * @throws StudioError 413 as soon as they are more than `limit`.
 */
export async function bodyBytes(context: Context, limit: number): Promise<Uint8Array> {
  const tooMuch = (): StudioError =>
    new StudioError(413, `That is more than the ${Math.round(limit / 2 ** 10)} KiB accepted here.`);
  if (Number(context.req.header('content-length') ?? 0) > limit) throw tooMuch();
  const { body } = context.req.raw;
  if (body === null) return new Uint8Array(0);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > limit) throw tooMuch();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** @throws StudioError 400 for what is not JSON, 415 for what isn't declared as JSON. */
function jsonOf(context: Context, bytes: Uint8Array): unknown {
  // a form of another page could send text/plain, but this only after a preflight request
  if (!/^application\/json\b/.test(context.req.header('content-type') ?? ''))
    throw new StudioError(415, 'expected application/json');
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new StudioError(400, 'the body is not JSON');
  }
}

/** A number in a query: plain decimal digits, not the other spellings that Number() takes. */
export const queryNumber = (check: z.ZodType<number, number> = z.number()): z.ZodType<number> =>
  z
    .string()
    .regex(/^-?\d+(\.\d+)?(e[+-]?\d+)?$/i, 'expected a number')
    .transform(Number)
    .pipe(check);

/** The checked query or body of a request. @throws StudioError 400 that says for each part what was expected. */
export function parse<T>(schema: z.ZodType<T>, value: unknown, where: 'query' | 'body'): T {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new StudioError(400, problemsOf(where, schema, value).join('\n'));
  return parsed.data;
}

/** A failure as the page gets it. Our own bugs are printed in the terminal; the page only learns that there was one. */
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
