/**
 * Who may talk to the studio. It can read a person's images and start programs, and any web page that this person has open
 * can send requests to a server on loopback. So every request is checked:
 *
 *   Host            must be a name of this machine. A page whose own host name was made to resolve to it (DNS rebinding)
 *                   is refused, since its requests carry that name.
 *   Origin, Sec-Fetch-Site   must be the studio's own: requests of other pages, and of forms in them, are refused.
 *   the token       32 random bytes in the link that the terminal prints; opening it sets a cookie, HttpOnly and
 *                   SameSite=Strict, that every other request needs. A program may send `Authorization: Bearer TOKEN`.
 *                   The browser that the command opens has a one-time code instead, see invitation.ts.
 *
 * The headers of every reply forbid the page to load anything from elsewhere (content security policy), to be framed and
 * to be cached.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import os from 'node:os';
import type { Context, MiddlewareHandler } from 'hono';
import { getCookie, setCookie } from 'hono/cookie';
import { pageHead } from '../plain/html.js';
import type { OneTimeCodes } from './invitation.js';

export const makeToken = (): string => randomBytes(32).toString('base64url');

/** Only this server's own files; pictures also from memory. No eval, no inline script or style. */
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

/** Whether a server at this address is reached only from this machine. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(\.\d+){3}$/.test(host);

/** `Host` without the port, in lower case; null when it is not a host. A tunnel may change the port, never the name. */
function hostName(header: string | undefined): string | null {
  return /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?$/i.exec(header ?? '')?.[1]?.toLowerCase() ?? null;
}

const bracketed = (address: string): string => (address.includes(':') ? `[${address}]` : address);

/** Names by which a request may address this server. */
export function allowedHosts(host: string): ReadonlySet<string> {
  const names = new Set(LOOPBACK).add(bracketed(host.toLowerCase())); // loopback has more, as 127.0.0.2
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

/** Cookies are shared by all ports of a host: two studios on one machine need two names. */
const cookieName = (token: string): string => `dino-studio-${digest(token).toString('hex').slice(0, 12)}`;

const isPage = (context: Context): boolean => context.req.header('sec-fetch-dest') === 'document';

const REFUSAL_STYLE = `:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: light-dark(#f7f7f5, #131518); color: light-dark(#1d1f22, #e8e9eb); }
main { max-width: 34rem; margin: 1rem; padding: 1.5rem 2rem; border: 1px solid light-dark(#d9dbde, #363a40); border-radius: 10px; background: light-dark(#fff, #1b1e22); }
h1 { font-size: 1.375rem; margin: 0 0 0.5rem; }
p { margin: 0.5rem 0; }
.note { color: light-dark(#565b63, #a6abb3); }`;

/** The page may have its own style, and nothing else. */
const REFUSAL_POLICY = [
  "default-src 'none'",
  'img-src data:',
  `style-src 'sha256-${createHash('sha256').update(REFUSAL_STYLE).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

function refuse(context: Context, status: 401 | 403 | 421, message: string): Response {
  if (isPage(context) || context.req.path === '/') {
    context.header('content-security-policy', REFUSAL_POLICY);
    const body = `${pageHead('dino studio', REFUSAL_STYLE)}<link rel="icon" href="data:,">
<main>
<h1>dino studio</h1>
<p>${message}</p>
<p class="note">A studio that was started again has a new link: it is in the terminal where <code>dino studio</code> or
<code>dino train --studio</code> runs.</p>
</main>
</body>
</html>
`;
    return context.html(body, status);
  }
  return context.json({ error: { code: 'REFUSED', message } }, status);
}

/** Why an opening link is refused; null when it is accepted. */
function refusal({ req }: Context, token: string, codes: OneTimeCodes): string | null {
  const code = req.query('code');
  if (code === undefined) {
    return isEqual(req.query('token') ?? '', token)
      ? null
      : 'The token in this link is not that of the studio that is running now.';
  }
  return {
    opened: null,
    again: 'This link works once, and has been used. Open the one that the terminal shows.',
    late: 'This link worked for two minutes, which are over. Open the one that the terminal shows.',
    unknown: 'This link is not from the studio that is running now. Open the one that the terminal shows.',
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
        'This server does not go by that name. Open the link that the terminal shows.',
      );
    }
    // A person follows the link from a terminal, a notebook or a mail: from anywhere.
    if (req.path === '/open' && req.method === 'GET') {
      const why = refusal(context, token, codes);
      if (why !== null) return refuse(context, 401, why);
      setCookie(context, cookie, token, { httpOnly: true, sameSite: 'Strict', path: '/' });
      // Not a redirect by status: a browser that comes from another site would follow it without the SameSite=Strict cookie.
      return context.html(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>dino studio</title><link rel="icon" href="data:,"><meta http-equiv="refresh" content="0;url=/"></html>',
      );
    }
    const bearer = /^Bearer (.+)$/.exec(req.header('authorization') ?? '')?.[1];
    const isProgram = bearer !== undefined && isEqual(bearer, token);
    const isKnown = isProgram || isEqual(getCookie(context, cookie) ?? '', token);
    if (!isKnown) {
      return refuse(context, 401, 'Open the studio with the link that the terminal shows: it holds a token.');
    }
    const origin = req.header('origin');
    const site = req.header('sec-fetch-site');
    const isOwn = origin === `http://${given}` || origin === `https://${given}`;
    const isForeign =
      (origin !== undefined && !isOwn) || (site !== undefined && site !== 'same-origin' && site !== 'none');
    // a browser sends an origin with everything but a plain GET; without one, such a request is refused
    const isUnnamed = !isProgram && !['GET', 'HEAD'].includes(req.method) && !isOwn && site !== 'same-origin';
    if (isForeign || isUnnamed)
      return refuse(context, 403, 'This request comes from another page and is refused.');
    await next();
    return undefined;
  };
}
