/**
 * Downloads with Node alone: HTTP and HTTPS, redirects, proxies and certificates as the environment and pip's settings name
 * them, ranges, and going on where an interrupted download stopped. It uses only built-in modules, because set-up runs it
 * before anything is installed.
 */
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { SetupError } from './setup-error.mjs';

const MAX_REDIRECTS = 5;
const TRIES = 4;
/** Without a byte for so long, a connection counts as lost. */
const SILENCE_MS = 60_000;
/** A page of an index is far smaller. */
const MAX_PAGE_BYTES = 64 * 2 ** 20;

/** The server sends whole files only. */
export class NoRanges extends SetupError {}

/** An address without the name and password that it may hold: for messages. */
export function shown(address) {
  const url = new URL(address);
  url.username = url.password = '';
  return url.href;
}

const authorization = (url) =>
  url.username === '' && url.password === ''
    ? {}
    : {
        authorization: `Basic ${Buffer.from(
          `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`,
        ).toString('base64')}`,
      };

/** Whether no_proxy names this host: `*`, the host, or a domain that it is in. */
function goesDirectly({ hostname }, env) {
  const names = (env.NO_PROXY ?? env.no_proxy ?? '').split(',').map((name) => name.trim().toLowerCase());
  return names.some((name) => {
    const host = name.replace(/:\d+$/, '').replace(/^\*?\./, '');
    return name === '*' || (host !== '' && (hostname === host || hostname.endsWith(`.${host}`)));
  });
}

function proxyFor(url, { env, proxy }) {
  const named =
    proxy ??
    (url.protocol === 'https:' ? (env.HTTPS_PROXY ?? env.https_proxy) : env.http_proxy) ??
    env.ALL_PROXY ??
    env.all_proxy;
  if (!named || goesDirectly(url, env)) return null;
  return new URL(/^[a-z]+:\/\//i.test(named) ? named : `http://${named}`);
}

const proxyHeaders = (proxy) => {
  const { authorization: given } = authorization(proxy);
  return given === undefined ? {} : { 'proxy-authorization': given };
};

/** A connection to the host of `url` through a proxy. */
function tunnel(proxy, url) {
  return new Promise((resolve, reject) => {
    const target = `${url.hostname}:${url.port || 443}`;
    const client = proxy.protocol === 'https:' ? https : http;
    const request = client.request({
      ...{ host: proxy.hostname, port: proxy.port || 80, method: 'CONNECT', path: target },
      headers: { host: target, ...proxyHeaders(proxy) },
    });
    request.setTimeout(SILENCE_MS, () =>
      request.destroy(new Error(`the proxy ${proxy.host} does not answer`)),
    );
    request.on('connect', (response, socket) => {
      if (response.statusCode === 200) return resolve(socket);
      socket.destroy();
      reject(new SetupError(`the proxy ${proxy.host} answered ${response.statusCode} for ${target}`));
    });
    request.on('error', reject);
    request.end();
  });
}

/** Node's own certificates, those of the variables that curl, pip and requests read, and pip's setting. */
function certificates({ env, cert }) {
  const file = [cert, env.SSL_CERT_FILE, env.REQUESTS_CA_BUNDLE, env.CURL_CA_BUNDLE].find(
    (name) => name && existsSync(name) && statSync(name).isFile(),
  );
  return file === undefined ? {} : { ca: [...tls.rootCertificates, readFileSync(file, 'utf8')] };
}

async function requestOnce(url, headers, options) {
  const proxy = proxyFor(url, options);
  const isSecure = url.protocol === 'https:';
  const socket = proxy !== null && isSecure ? await tunnel(proxy, url) : undefined;
  return new Promise((resolve, reject) => {
    const common = { headers: { 'user-agent': 'dino-ts', ...headers, ...authorization(url) }, agent: false };
    const request = isSecure
      ? https.request(url, {
          ...common,
          ...certificates(options),
          ...(socket === undefined ? {} : { socket }),
        })
      : proxy === null
        ? http.request(url, common)
        : http.request({
            ...{ host: proxy.hostname, port: proxy.port || 80, path: shown(url.href) },
            ...{ ...common, headers: { host: url.host, ...common.headers, ...proxyHeaders(proxy) } },
          });
    request.setTimeout(SILENCE_MS, () =>
      request.destroy(new Error(`${url.host} has sent nothing for a minute`)),
    );
    request.on('response', resolve);
    request.on('error', reject);
    request.end();
  });
}

/** Opens an address, following redirects; a name and password go only to the host that they were given for. */
async function open(address, headers, options) {
  let url = new URL(address);
  const { origin } = url;
  const { username, password } = url;
  for (let i = 0; i <= MAX_REDIRECTS; i++) {
    if (!/^https?:$/.test(url.protocol)) throw new SetupError(`${shown(url.href)} is not an HTTP address`);
    const response = await requestOnce(url, headers, options);
    const { statusCode = 0 } = response;
    if (![301, 302, 303, 307, 308].includes(statusCode) || response.headers.location === undefined) {
      return { response, url };
    }
    response.resume();
    const next = new URL(response.headers.location, url);
    if (url.protocol === 'https:' && next.protocol !== 'https:')
      throw new SetupError(`${shown(url.href)} leads to ${shown(next.href)}, which is not encrypted`);
    if (next.origin === origin) Object.assign(next, { username, password });
    url = next;
  }
  throw new SetupError(`${shown(address)} redirects more than ${MAX_REDIRECTS} times`);
}

const RETRIED = new Set([408, 425, 429, 500, 502, 503, 504]);

/** Repeats what fails for a reason that may pass; what fails for good is a SetupError. */
async function repeatedly(address, options, attempt) {
  for (let i = 1; ; i++) {
    try {
      return await attempt();
    } catch (error) {
      if (error instanceof SetupError && !error.mayPass) throw error;
      if (error.code === 'ENOSPC' || error.code === 'EACCES') throw error; // of the file, not of the network
      if (i === (options.tries ?? TRIES)) throw networkError(address, error, options);
      await sleep(500 * 2 ** (i - 1));
    }
  }
}

/** What to try when a host can't be reached. */
function networkError(address, error, { env }) {
  if (error instanceof SetupError) return error;
  const reasons = error.errors ?? [error]; // of each of the host's addresses
  const why = [...new Set(reasons.map(({ message, code }) => message || code))].join('; ');
  const isTls = /certificate|self.signed|issuer/i.test(why);
  const proxied = env.HTTPS_PROXY ?? env.https_proxy;
  return new SetupError(
    `${shown(address)} can't be reached: ${why}.` +
      (isTls
        ? "\nDoes this network open encrypted connections? Then name its certificate: PIP_CERT=<file.pem>, or pip's setting cert."
        : '') +
      (proxied === undefined
        ? ''
        : `\nThe proxy in use is ${shown(/:\/\//.test(proxied) ? proxied : `http://${proxied}`)}.`),
    { cause: error },
  );
}

function failed(status, address) {
  const error = new SetupError(`${shown(address)} answered ${status}`);
  error.status = status;
  error.mayPass = RETRIED.has(status);
  return error;
}

/**
 * A page of text, with its type and its address after redirects.
 * @param options env, and what pip's settings name: cert, proxy
 * @returns {Promise<{ text: string, type: string, url: string }>}
 */
export function fetchText(address, headers, options) {
  return repeatedly(address, options, async () => {
    const { response, url } = await open(address, headers, options);
    if (response.statusCode !== 200) {
      response.resume();
      throw failed(response.statusCode, url.href);
    }
    const chunks = [];
    let bytes = 0;
    for await (const chunk of response) {
      bytes += chunk.length;
      if (bytes > MAX_PAGE_BYTES) throw new SetupError(`${shown(address)} is larger than any index`);
      chunks.push(chunk);
    }
    return {
      text: Buffer.concat(chunks).toString('utf8'),
      type: response.headers['content-type'] ?? '',
      url: url.href,
    };
  });
}

/**
 * Bytes start to end of a file at an address, into a file. What an earlier call has left in that file is kept, and the
 * download goes on behind it.
 *
 * @param end null without a known size: to the end of the file
 * @param onBytes called with the number of bytes of every block that is in the file now, those of earlier calls included
 * @throws NoRanges when the server sends the whole file and `start` is not 0.
 */
export async function download(address, { start, end, file, onBytes = () => {} }, options) {
  let reported = 0;
  const report = (have) => {
    onBytes(have - reported);
    reported = have;
  };
  await repeatedly(address, options, async () => {
    const output = openSync(file, 'a', 0o600);
    try {
      let have = statSync(file).size;
      const length = end === null ? null : end - start;
      if (length !== null && have > length) ftruncateSync(output, (have = 0));
      report(have);
      if (have === length) return;
      const asks = start + have > 0 || end !== null;
      const range = `bytes=${start + have}-${end === null ? '' : end - 1}`;
      const { response, url } = await open(address, asks ? { range } : {}, options);
      const { statusCode } = response;
      if (statusCode === 200) {
        if (start > 0 || (end !== null && Number(response.headers['content-length'] ?? end) !== end)) {
          response.destroy();
          throw new NoRanges(`${shown(url.href)} can't be read in parts`);
        }
        ftruncateSync(output, (have = 0));
        report(have);
      } else if (statusCode !== 206) {
        response.resume();
        if (statusCode === 416) ftruncateSync(output, 0); // what is there doesn't fit to the server's file
        throw failed(statusCode, url.href);
      } else if (!(response.headers['content-range'] ?? '').startsWith(`bytes ${start + have}-`)) {
        response.destroy();
        throw new NoRanges(`${shown(url.href)} answered another range than the one asked for`);
      }
      const expected = length ?? (statusCode === 200 ? Number(response.headers['content-length']) : NaN);
      for await (const chunk of response) {
        writeSync(output, chunk);
        have += chunk.length;
        report(have);
        if (length !== null && have > length) throw new Error('it sent more than was asked for');
      }
      if (Number.isFinite(expected) && have !== expected)
        throw new Error(`the connection ended after ${have} of ${expected} bytes`);
    } finally {
      closeSync(output);
    }
  });
}

/** A few bytes of a file at an address. @throws NoRanges when the server sends whole files only. */
export function fetchRange(address, start, end, options) {
  return repeatedly(address, options, async () => {
    const { response, url } = await open(address, { range: `bytes=${start}-${end - 1}` }, options);
    if (response.statusCode === 200) {
      response.destroy();
      throw new NoRanges(`${shown(url.href)} can't be read in parts`);
    }
    if (response.statusCode !== 206) {
      response.resume();
      throw failed(response.statusCode, url.href);
    }
    const chunks = [];
    for await (const chunk of response) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    if (bytes.length !== end - start)
      throw new Error(`it sent ${bytes.length} bytes in place of ${end - start}`);
    return bytes;
  });
}
