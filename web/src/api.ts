/** Asks the server, by the table of routes in src/studio/api.ts. */
import { UPLOAD_LIMIT } from '../../src/studio/limits.ts';
import type { ApiError, BodyOf, ParamsOf, QueryOf, ReplyOf, RouteName } from '../../src/studio/api.ts';

export type * from '../../src/studio/api.ts';

/** A reply that is no success, in words that can be shown. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly problems: readonly string[] = [],
  ) {
    super(message);
  }
}

type Given<K extends RouteName> = (keyof ParamsOf<K> extends never ? object : { params: ParamsOf<K> }) &
  ([QueryOf<K>] extends [undefined] ? object : { query: QueryOf<K> }) &
  ([BodyOf<K>] extends [undefined] ? object : { body: BodyOf<K> }) & { signal?: AbortSignal };

/** An address with its query; values that are undefined are left out. */
export function addressOf(path: string, query: Readonly<Record<string, unknown>> = {}): string {
  const entries = Object.entries(query).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams(entries.map(([name, value]) => [name, String(value)])).toString();
  return search === '' ? path : `${path}?${search}`;
}

/** A value under a name that a file gave: every object has something called `constructor`. */
export const valueOf = <T>(values: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(values, name) ? values[name] : undefined;

/** The address of a small picture of an image file. */
export const pictureOf = (path: string, size = 256): string => addressOf('/api/picture', { path, size });

async function send(address: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(address, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new RequestError(0, 'UNREACHABLE', 'The studio does not answer: has it been ended?');
  }
  if (response.ok) return response;
  let told: Partial<ApiError['error']> = {};
  try {
    told = ((await response.json()) as ApiError).error;
  } catch {
    // no words came with it
  }
  const { code = 'HTTP', message = `The studio replied ${response.status}.`, problems = [] } = told;
  throw new RequestError(response.status, code, message, problems);
}

const decode = async (response: Response): Promise<unknown> =>
  response.headers.get('content-type') === 'application/octet-stream'
    ? new Uint8Array(await response.arrayBuffer())
    : response.json();

/**
 * Calls a route. `request('POST /api/tasks/:task/cancel', { params: { task } })`.
 * @throws RequestError
 */
export async function request<K extends RouteName>(name: K, given: Given<K>): Promise<ReplyOf<K>> {
  const [method, pattern] = name.split(' ') as [string, string];
  const { params, query, body, signal } = given as {
    params?: Record<string, string>;
    query?: Record<string, unknown>;
    body?: unknown;
    signal?: AbortSignal;
  };
  const path = pattern.replace(/:(\w+)/g, (_, key: string) => encodeURIComponent(params?.[key] ?? ''));
  const init: RequestInit = { method };
  if (signal !== undefined) init.signal = signal;
  if (body !== undefined) {
    init.headers = { 'content-type': 'application/json' };
    init.body = JSON.stringify(body);
  }
  return (await decode(await send(addressOf(path, query), init))) as ReplyOf<K>;
}

/** Sends a file's bytes to a route under /api/upload/. @throws RequestError, at once for a file that is too large */
export async function upload<T>(address: string, file: Blob, signal?: AbortSignal): Promise<T> {
  if (file.size > UPLOAD_LIMIT) {
    const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
    throw new RequestError(
      413,
      'TOO_LARGE',
      `The file has ${mebibytes(file.size)}, more than the ${mebibytes(UPLOAD_LIMIT)} that are taken here: make it smaller, or put it into one of the studio’s folders.`,
    );
  }
  const init: RequestInit = {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: file,
  };
  if (signal !== undefined) init.signal = signal;
  return (await decode(await send(address, init))) as T;
}

/** What to show of anything that was thrown. */
export const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
