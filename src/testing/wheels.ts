/** Wheels and an index of them on loopback, for tests of what fetches libtorch. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { deflateRawSync } from 'node:zlib';

export interface Member {
  name: string;
  data: Uint8Array;
  /** Unix mode, such as that of a symbolic link. */
  mode?: number;
}

export const sha256 = (bytes: Uint8Array, encoding: 'hex' | 'base64url' = 'hex'): string =>
  createHash('sha256').update(bytes).digest(encoding);

/** A zip file of deflated members, as wheels are. */
function zipOf(members: readonly Member[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, data, mode = 0o100644 } of members) {
    const packed = deflateRawSync(data);
    const bytes = Buffer.from(name);
    const header = Buffer.alloc(30);
    header.writeUInt32LE(0x04034b50, 0);
    header.writeUInt16LE(8, 8);
    header.writeUInt32LE(packed.length, 18);
    header.writeUInt32LE(data.length, 22);
    header.writeUInt16LE(bytes.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(8, 10);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(data.length, 24);
    entry.writeUInt16LE(bytes.length, 28);
    entry.writeUInt32LE((mode << 16) >>> 0, 38);
    entry.writeUInt32LE(offset, 42);
    parts.push(header, bytes, packed);
    directory.push(entry, bytes);
    offset += header.length + bytes.length + packed.length;
  }
  const end = Buffer.alloc(22);
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(size, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, ...directory, end]);
}

export interface TestWheel {
  filename: string;
  bytes: Buffer;
  /** The SHA-256 of its RECORD. */
  record: string;
}

/** A wheel with a RECORD of what is in it. */
export function makeWheel(filename: string, members: readonly Member[]): TestWheel {
  const [project = '', version = ''] = filename.split('-');
  const folder = `${project}-${version}.dist-info`;
  const lines = members.map(({ name, data }) => `${name},sha256=${sha256(data, 'base64url')},${data.length}`);
  const record = Buffer.from(`${[...lines, `${folder}/RECORD,,`].join('\n')}\n`);
  return {
    filename,
    bytes: zipOf([...members, { name: `${folder}/RECORD`, data: record }]),
    record: sha256(record),
  };
}

export interface TestIndex {
  url: string;
  /** Every request for a file: its name and the range asked for, null without one. */
  requests: { name: string; range: string | null }[];
  /** Bytes of files that were sent. */
  sent: () => number;
  close: () => Promise<void>;
}

export interface IndexOptions {
  /** The older form of an index, a page of links, in place of JSON. */
  html?: boolean;
  /** Whether parts of files can be asked for. */
  ranges?: boolean;
  /** 'user:password' that every request must name. */
  account?: string;
  /** The connection is cut after so many bytes of the first request for this file. */
  cut?: { name: string; after: number };
  /** A key and a certificate: it is served by HTTPS. */
  tls?: { key: string; cert: string };
  /** In place of the files' own SHA-256. */
  hash?: string;
}

/** Serves wheels as an index of Python packages does: /simple/PROJECT/ and /files/NAME. */
export async function serveIndex(
  wheels: readonly TestWheel[],
  { html = false, ranges = true, account, cut, tls, hash }: IndexOptions = {},
): Promise<TestIndex> {
  const requests: TestIndex['requests'] = [];
  let sent = 0;
  let uncut = cut; // only once
  const page = (project: string): string => {
    const files = wheels.filter(({ filename }) =>
      filename.toLowerCase().replaceAll('_', '-').startsWith(`${project}-`),
    );
    if (!html)
      return JSON.stringify({
        files: files.map(({ filename, bytes }) => ({
          filename,
          url: `../../files/${encodeURIComponent(filename)}`,
          hashes: { sha256: hash ?? sha256(bytes) },
          size: bytes.length,
        })),
      });
    const links = files.map(
      ({ filename, bytes }) =>
        `<a href="../../files/${encodeURIComponent(filename)}#sha256=${hash ?? sha256(bytes)}" data-requires-python="&gt;=3.11">${filename}</a><br/>`,
    );
    return `<!DOCTYPE html><html><body>\n${links.join('\n')}\n</body></html>`;
  };
  const isAllowed = ({ headers }: IncomingMessage): boolean =>
    account === undefined || headers.authorization === `Basic ${Buffer.from(account).toString('base64')}`;
  const answer: RequestListener = (request, response) => {
    if (!isAllowed(request)) return void response.writeHead(401).end();
    // a proxy is asked for whole addresses
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const project = /^\/simple\/([^/]+)\/$/.exec(pathname)?.[1];
    if (project !== undefined) {
      const type = html ? 'text/html' : 'application/vnd.pypi.simple.v1+json';
      return void response.writeHead(200, { 'content-type': type }).end(page(project));
    }
    const name = decodeURIComponent(/^\/files\/(.+)$/.exec(pathname)?.[1] ?? '');
    const wheel = wheels.find(({ filename }) => filename === name);
    if (wheel === undefined) return void response.writeHead(404).end();
    const range = request.headers.range ?? null;
    requests.push({ name, range });
    const found = ranges && range !== null ? /^bytes=(\d+)-(\d*)$/.exec(range) : null;
    const start = Number(found?.[1] ?? 0);
    const end = found?.[2] ? Number(found[2]) + 1 : wheel.bytes.length;
    const body = wheel.bytes.subarray(start, end);
    response.writeHead(found === null ? 200 : 206, {
      'content-length': body.length,
      ...(found === null ? {} : { 'content-range': `bytes ${start}-${end - 1}/${wheel.bytes.length}` }),
    });
    if (uncut?.name === name && body.length > uncut.after) {
      const { after } = uncut;
      uncut = undefined;
      sent += after;
      response.write(body.subarray(0, after), () => setTimeout(() => response.destroy(), 20));
      return;
    }
    sent += body.length;
    response.end(body);
  };
  const server = tls === undefined ? createServer(answer) : createSecureServer(tls, answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http${tls === undefined ? '' : 's'}://${account === undefined ? '' : `${account}@`}127.0.0.1:${port}/simple/`,
    requests,
    sent: () => sent,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

/** A proxy for encrypted connections; it counts them, and refuses those without `account`. */
export async function serveProxy(
  account: string,
): Promise<{ url: string; connections: string[]; close: () => Promise<void> }> {
  const connections: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer();
  server.on('connection', (socket) => sockets.add(socket));
  server.on('connect', (request, socket) => {
    const wanted = `Basic ${Buffer.from(account).toString('base64')}`;
    if (request.headers['proxy-authorization'] !== wanted) return void socket.end('HTTP/1.1 407 No\r\n\r\n');
    const [host = '', port] = (request.url ?? '').split(':');
    connections.push(request.url ?? '');
    const target = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 Connected\r\n\r\n');
      target.pipe(socket).pipe(target);
    });
    for (const end of [target, socket])
      end.on('error', () => [target, socket].forEach((each) => each.destroy()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${account}@127.0.0.1:${port}`,
    connections,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}
