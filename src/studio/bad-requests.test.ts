/**
 * Every route gets wrong requests, as from a broken or hostile program: the reply is a refusal in words, arrives soon, and is
 * never a 500.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Hono } from 'hono';
import sharp from 'sharp';
import { writeTinyRun } from '../testing/saved-run.js';
import type { BodyOf, QueryOf, RouteName } from '../plain/studio-api/index.js';
import { startStudio, type RunningStudio } from './index.js';
import { BODY_LIMIT, QUESTION_LIMIT } from '../plain/limits.js';
import { allRoutes } from './routes/index.js';
import type { Studio } from './routes/route.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-bad-'));
let studio: RunningStudio;
before(async () => {
  writeTinyRun(path.join(folder, 'run'));
  mkdirSync(path.join(folder, 'images'));
  const picture = sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } }).png();
  await picture.toFile(path.join(folder, 'images', 'a.png'));
  studio = await startStudio({ folders: [folder], port: 0 });
});
after(async () => {
  await studio.close();
  rmSync(folder, { recursive: true });
});

/** A well-formed request to every route that takes a body or a query; what it names does not exist. */
const start = { images: 'nowhere', preset: 'auto' as const, overrides: { epochs: '1' } };
const bodies: { [K in RouteName as BodyOf<K> extends undefined | Blob ? never : K]: BodyOf<K> } = {
  'POST /api/start/inspect': { images: 'nowhere' },
  'POST /api/start/plan': start,
  'POST /api/start/crops': { ...start, seed: 1 },
  'POST /api/start/trial': start,
  'POST /api/start/train': { ...start, output: 'new' },
  'POST /api/runs/:run/note': { text: 'new', before: 'old' },
  'POST /api/runs/:run/hidden': { isHidden: true },
  'POST /api/look': { weights: 'nowhere', checkpointKey: 'teacher', images: [{ path: 'nowhere' }], side: 32 },
  'POST /api/find/index': { weights: 'nowhere', images: 'nowhere', output: 'new' },
  'POST /api/find/map': { index: 'nowhere' },
  'POST /api/find/ask': {
    index: 'nowhere',
    ask: {
      ...{ generation: 0, kind: 'search', plus: [0], minus: [1], upload: 'nothing' },
      ...{ region: [0, 0, 1, 1], top: 3 },
    },
  },
};
const queries: { [K in RouteName as QueryOf<K> extends undefined ? never : K]: QueryOf<K> } & Record<
  string,
  object
> = {
  'GET /api/folders': { path: 'nowhere' },
  'GET /api/runs/:run/series': { axis: 'step', from: 0, to: 1, width: 100, columns: 'loss' },
  'GET /api/find/map': { index: 'nowhere', generation: 0 },
  'GET /api/picture': { path: 'images/a.png', size: 64 },
};

interface Route {
  method: string;
  path: string;
  name: string;
}

/** As the server has them. */
function routesOf(): Route[] {
  const app = new Hono();
  for (const routes of allRoutes) routes(app, {} as Studio);
  return app.routes.map(({ method, path }) => ({ method, path, name: `${method} ${path}` }));
}

const LONG = 'x'.repeat(100_000);
const DEEP = '['.repeat(50_000) + ']'.repeat(50_000);
const nested = (depth: number): string => '{"a":'.repeat(depth) + '1' + '}'.repeat(depth);

interface Sent {
  body?: string | Buffer | undefined;
  headers?: Record<string, string>;
  /** Without a length: in pieces. */
  chunked?: boolean;
}
interface Reply {
  status: number;
  text: string;
  type: string;
}

/** Against a hang: a loaded machine answers in far less. */
const HANGS_MS = 60_000;

function send(
  { method }: Route,
  address: string,
  { body, headers = {}, chunked = false }: Sent,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const length: Record<string, string> =
      body === undefined || chunked ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const call = request(
      {
        ...{ host: '127.0.0.1', port: studio.port, path: address, method, agent: false },
        headers: { authorization: `Bearer ${studio.token}`, ...length, ...headers },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('close', () =>
          resolve({
            status: response.statusCode ?? 0,
            text: Buffer.concat(chunks).toString(),
            type: response.headers['content-type'] ?? '',
          }),
        );
        // what goes on for ever has been answered
        if ((response.headers['content-type'] ?? '').startsWith('text/event-stream')) response.destroy();
      },
    );
    call.setTimeout(HANGS_MS, () => call.destroy(new Error(`no answer within ${HANGS_MS} ms`)));
    call.on('error', reject);
    if (body !== undefined && chunked) {
      const bytes = Buffer.from(body);
      for (let at = 0; at < bytes.length; at += 10_000) call.write(bytes.subarray(at, at + 10_000));
    } else if (body !== undefined) call.write(body);
    call.end();
  });
}

/** An address of the route, its parameters filled in. */
const addressOf = ({ path }: Route, value = 'nowhere'): string => path.replaceAll(/:\w+/g, value);

/** What is wrong with an answer; null for a refusal in our own form. */
function complaint({ status, text, type }: Reply, mayBeRight: boolean): string | null {
  if (status >= 200 && status < 400) return mayBeRight ? null : `answered ${status}: ${text.slice(0, 100)}`;
  if (status >= 500 || status < 400) return `answered ${status}: ${text.slice(0, 200)}`;
  if (!type.startsWith('application/json')) return `refused as ${type}: ${text.slice(0, 100)}`;
  const { error } = JSON.parse(text) as { error?: { code?: unknown; message?: unknown } };
  if (typeof error?.code !== 'string' || typeof error.message !== 'string' || error.message === '')
    return `refused without words: ${text.slice(0, 100)}`;
  return /internal|\[object|undefined is|Cannot read/.test(error.message) ? `says ${error.message}` : null;
}

/** Everything that a part of a request must not be. */
function* wrongFor(value: unknown): Generator<unknown> {
  const kinds: unknown[] = [null, 42.5, true, 'nonsense\0', LONG, [], {}, [[]], { a: 1 }, -1, 1e300];
  const isOf = (a: unknown): string => (Array.isArray(a) ? 'list' : a === null ? 'null' : typeof a);
  for (const wrong of kinds) {
    if (isOf(wrong) !== isOf(value)) yield wrong;
    else if (typeof value === 'string' || typeof value === 'number') yield wrong;
  }
  if (Array.isArray(value)) yield Array.from({ length: 2000 }, () => value[0] as unknown);
}

/** The body with one part, at any depth, replaced by a wrong one or left out. */
function* mutations(value: unknown, at = ''): Generator<{ what: string; body: unknown }> {
  if (at !== '')
    for (const wrong of wrongFor(value))
      yield { what: `${at} = ${JSON.stringify(wrong).slice(0, 30)}`, body: wrong };
  if (typeof value !== 'object' || value === null) return;
  for (const key of Object.keys(value)) {
    const part = (value as Record<string, unknown>)[key];
    const withPart = (other: unknown): unknown => {
      const copy = structuredClone(value) as Record<string, unknown>;
      if (other === undefined) delete copy[key];
      else copy[key] = other;
      return copy;
    };
    for (const { what, body } of mutations(part, `${at}.${key}`)) yield { what, body: withPart(body) };
  }
}

const json = { 'content-type': 'application/json' };

describe('bad requests', () => {
  it('every route of the table is asked', () => {
    const names = routesOf().map(({ name }) => name);
    for (const name of [...Object.keys(bodies), ...Object.keys(queries)])
      assert.ok(names.includes(name), name);
    assert.ok(names.length >= 20, `${names.length} routes`);
  });

  it('bodies that are missing, not JSON, too large, too deep or of another form are refused, whole or in chunks', async () => {
    const found: string[] = [];
    const whole: Record<string, Sent> = {
      'no body': { headers: json },
      'an empty body': { body: '', headers: json },
      'half of JSON': { body: '{"images":', headers: json },
      'no JSON': { body: '<xml/>', headers: json },
      'bytes that are no text': { body: Buffer.from([0xff, 0xfe, 0, 1]), headers: json },
      'another type': { body: '{}', headers: { 'content-type': 'text/plain' } },
      'no type': { body: '{}' },
      null: { body: 'null', headers: json },
      'a number': { body: '42', headers: json },
      'a list': { body: '[]', headers: json },
      'an empty object': { body: '{}', headers: json },
      'deep lists': { body: DEEP, headers: json },
      'deep objects': { body: nested(20_000), headers: json },
      'a prototype': { body: '{"__proto__":{"images":"x"},"constructor":1}', headers: json },
    };
    for (const route of routesOf().filter(({ method }) => method === 'POST')) {
      // more than its limit, but not far
      const limit = route.path === '/api/find/ask' ? QUESTION_LIMIT : BODY_LIMIT;
      const tooMuch = { body: JSON.stringify({ images: 'x'.repeat(limit) }), headers: json };
      for (const [what, sent] of Object.entries({ ...whole, 'too much': tooMuch })) {
        for (const chunked of [false, true]) {
          const how = `${route.name}: ${what}${chunked ? ', in pieces' : ''}`;
          const reply = await send(route, addressOf(route), { ...sent, chunked }).catch((error: Error) => {
            // what is too large may be cut off while it is sent
            if (what === 'too much' && /ECONNRESET|EPIPE/.test(error.message)) return null;
            throw new Error(`${how}: ${error.message}`);
          });
          const wrong = reply && complaint(reply, false);
          if (wrong) found.push(`${how}: ${wrong}`);
        }
      }
    }
    assert.equal(found.join('\n'), '');
  });

  it('a well-formed body may come in chunks', async () => {
    for (const [name, body] of Object.entries(bodies)) {
      const route = routesOf().find((one) => one.name === name)!;
      const [whole, pieces] = [
        await send(route, addressOf(route), { body: JSON.stringify(body), headers: json }),
        await send(route, addressOf(route), { body: JSON.stringify(body), headers: json, chunked: true }),
      ];
      assert.equal(whole.status, 404, `${name}: ${whole.text}`);
      assert.deepEqual(pieces, whole, name);
    }
  });

  it('every part of a body is checked', async () => {
    const found: string[] = [];
    for (const [name, body] of Object.entries(bodies)) {
      const route = routesOf().find((one) => one.name === name)!;
      for (const { what, body: wrong } of mutations(body)) {
        const reply = await send(route, addressOf(route), { body: JSON.stringify(wrong), headers: json });
        const problem = complaint(reply, false);
        if (problem !== null) found.push(`${name}: ${what}: ${problem}`);
      }
    }
    assert.equal(found.join('\n'), '');
  });

  it('invalid queries and parameters are refused', async () => {
    const found: string[] = [];
    const ask = async (route: Route, address: string, mayBeRight: boolean): Promise<void> => {
      const sent = route.method === 'POST' ? { body: 'x', headers: json } : {};
      const problem = complaint(await send(route, address, sent), mayBeRight);
      if (problem !== null) found.push(`${route.method} ${address.slice(0, 80)}: ${problem}`);
    };
    const wrong = [
      '',
      'nonsense',
      '%00',
      'x'.repeat(5000),
      '-1',
      '1e400',
      'NaN',
      '0x10',
      '%ff',
      '1,2',
      '__proto__',
    ];
    for (const route of routesOf()) {
      const query = queries[route.name] as Record<string, unknown> | undefined;
      for (const value of [...wrong, '..%2f..%2fetc%2fpasswd', 'constructor', '%', '%zz'])
        if (route.path.includes('/:'))
          await ask(route, addressOf(route, value === '' ? '%20' : value), false);
      if (query === undefined) continue;
      for (const key of Object.keys(query)) {
        const rest = Object.entries(query).filter(([name]) => name !== key);
        const address = (value: string): string =>
          `${addressOf(route)}?${[...rest.map(([name, each]) => `${name}=${encodeURIComponent(String(each))}`), `${key}=${value}`].join('&')}`;
        for (const value of wrong) await ask(route, address(value), route.name === 'GET /api/folders');
        await ask(route, `${address('1')}&${key}=2&${key}[]=3`, route.name === 'GET /api/folders');
      }
      await ask(route, addressOf(route), route.name === 'GET /api/folders');
    }
    assert.equal(found.join('\n'), '');
  });

  it('other methods are refused', async () => {
    const found: string[] = [];
    for (const route of routesOf())
      for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
        const problem = complaint(await send({ ...route, method }, addressOf(route), {}), false);
        if (problem !== null) found.push(`${method} ${route.path}: ${problem}`);
      }
    // answered without a body, and not for ever
    for (const route of routesOf()) {
      const { status } = await send({ ...route, method: 'HEAD' }, addressOf(route), {});
      if (status === 0 || status >= 500) found.push(`HEAD ${route.path}: answered ${status}`);
    }
    assert.equal(found.join('\n'), '');
  });

  it('an upload is limited while it comes, also without a length', async () => {
    const route = routesOf().find(({ name }) => name === 'POST /api/upload/look')!;
    const image = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
      .png()
      .toBuffer();
    for (const chunked of [false, true]) {
      const good = await send(route, route.path, { body: image, chunked });
      assert.equal(good.status, 200, good.text);
      const reply = await send(route, route.path, { body: Buffer.alloc(70 * 2 ** 20), chunked }).catch(
        (error: Error) => {
          assert.match(error.message, /ECONNRESET|EPIPE/);
          return null;
        },
      );
      if (reply !== null) assert.equal(reply.status, 413, reply.text);
    }
  });
});
