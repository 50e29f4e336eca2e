/**
 * What the studio's page and its server say to each other: only types, imported by both, so that neither can change
 * without the other. A route is a key of `Api`; `route()` in routes/route.ts serves it and `request()` in web/src/api.ts
 * asks for it. What a page sends is checked by the route's zod schema: types do not stop a malicious client.
 */
import type { EverywhereApi } from './everywhere.js';
import type { FindApi } from './find.js';
import type { LookApi } from './look.js';
import type { RunsApi } from './runs.js';
import type { StartApi } from './start.js';

export type * from './everywhere.js';
export type * from './find.js';
export type * from './look.js';
export type * from './runs.js';
export type * from './start.js';

/** Every route: what is in its path, its query and its body, and what it replies. */
export interface Api extends EverywhereApi, RunsApi, StartApi, LookApi, FindApi {}

export type RouteName = keyof Api;
type Part<K extends RouteName, Name extends string, Otherwise> =
  Api[K] extends Record<Name, infer T> ? T : Otherwise;
export type ParamsOf<K extends RouteName> = Part<K, 'params', Record<never, string>>;
export type QueryOf<K extends RouteName> = Part<K, 'query', undefined>;
export type BodyOf<K extends RouteName> = Part<K, 'body', undefined>;
/** A Uint8Array, or a Blob that is sent, travels as bytes, all else as JSON. */
export type ReplyOf<K extends RouteName> = Api[K]['reply'];
