/**
 * Who may talk to the studio. It can read a person's images and start programs, and any web page that this person has open
 * can send requests to a server on loopback; so, for every request:
 *
 *   Host            must be a name of this machine: a page whose own name was made to point here (DNS rebinding) is
 *                   refused, since its requests carry that name.
 *   Origin, Sec-Fetch-Site   must be the studio's own: other pages' requests are refused, and those of forms in them.
 *   the token       32 random bytes in the link that the terminal prints; opening it sets a cookie, HttpOnly and
 *                   SameSite=Strict, that everything else asks for. A program may send `Authorization: Bearer TOKEN`.
 *                   The browser that the command opens comes with a code that is good once in place of it, invitation.ts.
 *
 * Every reply forbids the page whatever is not from here (content-security policy), to be framed, and to be kept.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import os from 'node:os';
import type { Context, MiddlewareHandler } from 'hono';
import { getCookie, setCookie } from 'hono/cookie';
import type { OneTimeCodes } from './invitation.js';

export const makeToken = (): string => randomBytes(32).toString('base64url');

/** Nothing but this server's own files; pictures also from memory. No eval, no inline script or style. */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob: data:",
  "connect-src 'self'",
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
};

const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);

/** Whether a server at this address is reached from this machine alone. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(\.\d+){3}$/.test(host);

/** `Host` without the port, in lower case; null when it is no host. A tunnel may have another port, never another name. */
function hostName(header: string | undefined): string | null {
  return /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?$/i.exec(header ?? '')?.[1]?.toLowerCase() ?? null;
}

const bracketed = (address: string): string => (address.includes(':') ? `[${address}]` : address);

/** Names that a request may call this server by. */
export function allowedHosts(host: string): ReadonlySet<string> {
  const names = new Set(LOOPBACK);
  if (isLoopback(host)) return names;
  names.add(bracketed(host.toLowerCase()));
  if (host === '0.0.0.0' || host === '::') {
    names.add(os.hostname().toLowerCase());
    for (const addresses of Object.values(os.networkInterfaces())) {
      // an IPv6 address may end in %interface
      for (const { address } of addresses ?? []) names.add(bracketed(address.replace(/%.*$/, '')));
    }
  }
  return names;
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
const isEqual = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b));

export interface SecurityOptions {
  token: string;
  /** What the server listens on. */
  host: string;
  codes: OneTimeCodes;
}

/** Cookies know no ports: two studios on one machine need two names. */
const cookieName = (token: string): string => `dino-studio-${digest(token).toString('hex').slice(0, 12)}`;

const isPage = (context: Context): boolean => context.req.header('sec-fetch-dest') === 'document';

function refuse(context: Context, status: 401 | 403 | 421, message: string): Response {
  if (isPage(context) || context.req.path === '/') {
    const body = `<!doctype html><html lang="en"><meta charset="utf-8"><title>dino studio</title><link rel="icon" href="data:,"><h1>dino studio</h1><p>${message}</p></html>`;
    return context.html(body, status);
  }
  return context.json({ error: { code: 'REFUSED', message } }, status);
}

/** Why an opening link is refused; null when it is good. */
function refusal({ req }: Context, token: string, codes: OneTimeCodes): string | null {
  const code = req.query('code');
  if (code === undefined) {
    return isEqual(req.query('token') ?? '', token)
      ? null
      : 'The token in this link is not that of the studio which runs now.';
  }
  return {
    opened: null,
    again: 'This link was good once, and has been used. Open the one that the terminal shows.',
    late: 'This link was good for two minutes. Open the one that the terminal shows.',
    unknown: 'This link is not of the studio which runs now. Open the one that the terminal shows.',
  }[codes.use(code)];
}

/** The checks of this file, before everything else. */
export function guard({ token, host, codes }: SecurityOptions): MiddlewareHandler {
  const hosts = allowedHosts(host);
  const cookie = cookieName(token);
  return async (context, next) => {
    for (const [name, value] of Object.entries(HEADERS)) context.header(name, value);
    const { req } = context;
    const given = req.header('host');
    const name = hostName(given);
    if (name === null || !hosts.has(name)) {
      return refuse(
        context,
        421,
        'This server is not called by that name. Open the link that the terminal shows.',
      );
    }
    // What the link opens: a person follows it from a terminal, a notebook or a mail, so from anywhere.
    if (req.path === '/open' && req.method === 'GET') {
      const why = refusal(context, token, codes);
      if (why !== null) return refuse(context, 401, why);
      setCookie(context, cookie, token, { httpOnly: true, sameSite: 'Strict', path: '/' });
      // No redirect by status: followed from another site it would come without a SameSite=Strict cookie.
      return context.html(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>dino studio</title><link rel="icon" href="data:,"><meta http-equiv="refresh" content="0;url=/"></html>',
      );
    }
    const bearer = /^Bearer (.+)$/.exec(req.header('authorization') ?? '')?.[1];
    const isProgram = bearer !== undefined && isEqual(bearer, token);
    const isKnown = isProgram || isEqual(getCookie(context, cookie) ?? '', token);
    if (!isKnown) {
      return refuse(context, 401, 'Open the studio by the link that the terminal shows: it holds a token.');
    }
    const origin = req.header('origin');
    const site = req.header('sec-fetch-site');
    const isOwn = origin === `http://${given}` || origin === `https://${given}`;
    const isForeign =
      (origin !== undefined && !isOwn) || (site !== undefined && site !== 'same-origin' && site !== 'none');
    // a browser names the origin of whatever is not a plain GET; what comes with no name at all is refused there
    const isUnnamed = !isProgram && !['GET', 'HEAD'].includes(req.method) && !isOwn && site !== 'same-origin';
    if (isForeign || isUnnamed)
      return refuse(context, 403, 'This request comes from another page, and is refused.');
    await next();
    return undefined;
  };
}
