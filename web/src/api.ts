/** Asks the server, by the table of routes in src/plain/studio-api/index.ts. Components do so through use-request.ts. */
import { UPLOAD_LIMIT } from '../../src/plain/limits.ts';
import type {
  ApiError,
  BodyOf,
  ParamsOf,
  QueryOf,
  ReplyOf,
  RouteName,
} from '../../src/plain/studio-api/index.ts';
import { RequestError } from './errors.ts';

export type * from '../../src/plain/studio-api/index.ts';

/** The input of a route: the parameters of its path, its query and its body, if it has them. */
export type Given<K extends RouteName> = (keyof ParamsOf<K> extends never
  ? object
  : { params: ParamsOf<K> }) &
  ([QueryOf<K>] extends [undefined] ? object : { query: QueryOf<K> }) &
  ([BodyOf<K>] extends [undefined] ? object : { body: BodyOf<K> });

/** An address with its query; values that are undefined are left out. */
function addressOf(path: string, query: Readonly<Record<string, unknown>> = {}): string {
  const entries = Object.entries(query).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams(entries.map(([name, value]) => [name, String(value)])).toString();
  return search === '' ? path : `${path}?${search}`;
}

/** A value under a name that a file gave: every object has something called `constructor`. */
export const valueOf = <T>(values: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(values, name) ? values[name] : undefined;

/** The address of a small picture of an image file. */
export const pictureOf = (path: string, size = 256): string => addressOf('/api/picture', { path, size });

/** The same of an image that was uploaded. */
export const uploadedPictureOf = (upload: string, size = 256): string =>
  addressOf('/api/picture', { upload, size });

async function send(address: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(address, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new RequestError(0, 'UNREACHABLE', 'The studio does not answer. Has it been stopped?');
  }
  if (response.ok) return response;
  let told: Partial<ApiError['error']> = {};
  try {
    told = ((await response.json()) as ApiError).error;
  } catch {
    // the reply had no message
  }
  const { code = 'HTTP', message = `The studio replied ${response.status}.`, problems = [] } = told;
  throw new RequestError(response.status, code, message, problems);
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

/** A file is sent as its bytes, everything else as JSON. @throws RequestError at once for a file that is too large */
function encode(body: unknown): Pick<RequestInit, 'headers' | 'body'> {
  if (!(body instanceof Blob))
    return { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  if (body.size > UPLOAD_LIMIT) {
    const sizes = `The file is ${mebibytes(body.size)}, more than the ${mebibytes(UPLOAD_LIMIT)} accepted here`;
    const advice = 'make it smaller, or put it into one of the studio’s folders.';
    throw new RequestError(413, 'TOO_LARGE', `${sizes}: ${advice}`);
  }
  return { headers: { 'content-type': 'application/octet-stream' }, body };
}

const decode = async (response: Response): Promise<unknown> =>
  response.headers.get('content-type') === 'application/octet-stream'
    ? new Uint8Array(await response.arrayBuffer())
    : response.json();

/**
 * Calls a route. `request('POST /api/tasks/:task/cancel', { params: { task } })`.
 * @throws RequestError
 */
export async function request<K extends RouteName>(
  name: K,
  given: Given<K>,
  signal?: AbortSignal,
): Promise<ReplyOf<K>> {
  const [method, pattern] = name.split(' ') as [string, string];
  const { params, query, body } = given as {
    params?: Record<string, string>;
    query?: Record<string, unknown>;
    body?: unknown;
  };
  const path = pattern.replace(/:(\w+)/g, (_, key: string) => encodeURIComponent(params?.[key] ?? ''));
  const init: RequestInit = { method, signal: signal ?? null, ...(body === undefined ? {} : encode(body)) };
  return (await decode(await send(addressOf(path, query), init))) as ReplyOf<K>;
}
