/** The studio's defences against an attacker: another page in the same browser, a host name that points here, a bad path. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'puppeteer-core';
import sharp from 'sharp';
import { launchBrowser, serveFolders } from '../testing/browser.js';
import { openStudio } from '../testing/studio.js';
import { startStudio, type RunningStudio } from './index.js';
import { allowedHosts, CONTENT_SECURITY_POLICY } from './security.js';

const top = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-security-'));
const given = path.join(top, 'given');
const secret = path.join(top, 'secret', 'secret.png');
let studio: RunningStudio;
let cookie: string;

interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/** A request with any headers, also those that fetch() doesn't allow. */
function send(
  address: string,
  headers: Record<string, string> = {},
  { method = 'GET', body = '', port = studio.port } = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const call = request({ host: '127.0.0.1', port, path: address, method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString('latin1'),
        }),
      );
      response.on('error', reject);
    });
    call.on('error', reject);
    call.end(body);
  });
}

const asPage = (more: Record<string, string> = {}): Record<string, string> => ({ cookie, ...more });
const own = (): string => studio.origin;

before(async () => {
  mkdirSync(given);
  mkdirSync(path.dirname(secret));
  const picture = sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } });
  await picture.clone().png().toFile(secret);
  await picture.clone().png().toFile(path.join(given, 'mine.png'));
  symlinkSync(secret, path.join(given, 'link.png'));
  symlinkSync(path.dirname(secret), path.join(given, 'link'));
  symlinkSync(path.join(given, 'mine.png'), path.join(given, 'inside.png'));
  // the same letters at the beginning, another folder
  mkdirSync(`${given}-other`);
  await picture
    .clone()
    .png()
    .toFile(path.join(`${given}-other`, 'other.png'));
  studio = await startStudio({ folders: [given], port: 0 });
  const opened = await send(`/open?token=${studio.token}`);
  cookie = opened.headers['set-cookie']![0]!.split(';')[0]!;
});
after(async () => {
  await studio.close();
  rmSync(top, { recursive: true });
});

describe('without the token', () => {
  it('nothing is shown: neither the page nor its files, and no answer', async () => {
    for (const address of [
      '/',
      '/api/studio',
      '/api/runs',
      '/api/events',
      '/icon.svg',
      '/assets/x.js',
      '/index.html',
    ])
      assert.equal((await send(address)).status, 401, address);
  });

  it('neither a wrong one nor a part of it opens anything', async () => {
    for (const wrong of [
      '',
      'x',
      studio.token.slice(0, -1),
      `${studio.token}x`,
      studio.token.toLowerCase(),
    ]) {
      const opened = await send(`/open?token=${encodeURIComponent(wrong)}`);
      assert.equal(opened.status, 401);
      assert.equal(opened.headers['set-cookie'], undefined);
      assert.equal((await send('/api/runs', { authorization: `Bearer ${wrong}` })).status, 401);
      assert.equal((await send('/api/runs', { cookie: cookie.replace(/=.*/, `=${wrong}`) })).status, 401);
    }
    assert.equal((await send('/open')).status, 401);
  });

  it('the cookie is out of reach of scripts and other sites, and each studio has its own', async () => {
    const [set] = (await send(`/open?token=${studio.token}`)).headers['set-cookie']!;
    assert.match(set!, /HttpOnly/);
    assert.match(set!, /SameSite=Strict/);
    const other = await startStudio({ folders: [given], port: 0 });
    try {
      assert.notEqual(other.token, studio.token);
      assert.equal((await send('/api/runs', { cookie }, { port: other.port })).status, 401);
    } finally {
      await other.close();
    }
  });
});

describe('another page in the same browser', () => {
  it('gets nothing under a name of its own that was made to point here (DNS rebinding)', async () => {
    for (const host of [
      'evil.example',
      `evil.example:${studio.port}`,
      'localhost.evil.example',
      '127.0.0.1.evil.example',
      'evil.example#localhost',
      'localhost@evil.example',
      '192.168.1.7',
    ]) {
      // what is no host at all is not even read
      const refused = /[#@]/.test(host) ? 400 : 421;
      assert.equal((await send('/api/runs', asPage({ host }))).status, refused, host);
      assert.equal((await send(`/open?token=${studio.token}`, { host })).status, refused, host);
    }
    for (const host of [`localhost:${studio.port}`, '127.0.0.1', 'LOCALHOST:9000', '[::1]:80'])
      assert.equal((await send('/api/runs', asPage({ host }))).status, 200, host);
  });

  it('is refused by its origin, even with the cookie', async () => {
    for (const origin of [
      'http://evil.example',
      'null',
      'http://localhost:1',
      `${own()}.evil.example`,
      'file://',
    ])
      assert.equal((await send('/api/runs', asPage({ origin }))).status, 403, origin);
    for (const site of ['cross-site', 'same-site'])
      assert.equal((await send('/api/runs', asPage({ 'sec-fetch-site': site }))).status, 403, site);
    assert.equal(
      (await send('/api/runs', asPage({ origin: own(), 'sec-fetch-site': 'same-origin' }))).status,
      200,
    );
  });

  it('can start nothing with a form, which sends no JSON, nor without an origin', async () => {
    const options = { method: 'POST', body: '{}' };
    const address = '/api/tasks/x/cancel';
    assert.equal((await send(address, asPage(), options)).status, 403);
    assert.equal((await send(address, asPage({ origin: 'http://evil.example' }), options)).status, 403);
    assert.equal(
      (await send(address, asPage({ origin: own() }), options)).status,
      404,
      'the page itself may',
    );
  });

  it('cannot reach it from a real page in a real browser', async (t) => {
    const browser: Browser | string = await launchBrowser();
    if (typeof browser === 'string') return t.skip(browser);
    const folder = path.join(top, 'evil');
    mkdirSync(folder);
    writeFileSync(path.join(folder, 'index.html'), '<!doctype html><title>evil</title>');
    const evil = await serveFolders({ '/evil': folder });
    try {
      const page = await browser.newPage();
      await page.goto(studio.url); // the person has the studio open, and its cookie
      await page.waitForSelector('main h1'); // the link leads on to the page without the token
      await page.goto(`${evil.origin}/evil/index.html`);
      const attempts = (await page.evaluate(`(async () => {
        const tries = {};
        const attempt = async (name, init, path = '/api/runs') => {
          try { const r = await fetch(${JSON.stringify(own())} + path, init); tries[name] = r.type === 'opaque' ? 'opaque' : 'read ' + r.status; }
          catch { tries[name] = 'failed'; }
        };
        await attempt('read', { credentials: 'include' });
        await attempt('blind', { credentials: 'include', mode: 'no-cors' });
        await attempt('json', { credentials: 'include', method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' }, '/api/tasks/x/cancel');
        tries.image = await new Promise((resolve) => { const i = new Image(); i.onload = () => resolve('seen'); i.onerror = () => resolve('failed'); i.src = ${JSON.stringify(own())} + '/api/picture?path=mine.png'; });
        tries.script = await new Promise((resolve) => { const s = document.createElement('script'); s.onload = () => resolve('run'); s.onerror = () => resolve('failed'); s.src = ${JSON.stringify(own())} + '/api/runs'; document.head.append(s); });
        return tries;
      })()`)) as Record<string, string>;
      assert.deepEqual(attempts, {
        read: 'failed',
        blind: 'failed',
        json: 'failed',
        image: 'failed',
        script: 'failed',
      });
      await page.setContent(`<iframe src="${own()}/"></iframe>`);
      const frame = await page.waitForSelector('iframe');
      const inside = await (
        await frame!.contentFrame()
      ).evaluate('document.body ? document.body.innerText : ""');
      assert.doesNotMatch(String(inside), /Runs/);
    } finally {
      await browser.close();
      await evil.close();
    }
  });
});

describe('files', () => {
  const picture = (name: string) => send(`/api/picture?path=${encodeURIComponent(name)}`, asPage());

  it('under the given folders are shown, also by links that stay there', async () => {
    for (const name of ['mine.png', path.join(given, 'mine.png'), 'inside.png', './x/../mine.png']) {
      const reply = await picture(name);
      assert.equal(reply.status, 200, name);
      assert.equal(reply.headers['content-type'], 'image/webp');
    }
  });

  it('elsewhere are not, whatever the path is made of', async () => {
    const names = [
      secret,
      '../secret/secret.png',
      `${given}/../secret/secret.png`,
      'x/../../secret/secret.png',
      `${given}-other/other.png`,
      '/etc/passwd',
      '../secret/not-there.png',
    ];
    for (const name of names) {
      const reply = await picture(name);
      assert.equal(reply.status, 403, name);
      assert.match(reply.body, /not under the folders/);
    }
    assert.equal((await picture('mine.png\0.txt')).status, 400);
    assert.equal((await send('/api/picture?path=..%252fsecret%252fsecret.png', asPage())).status, 404);
  });

  it('elsewhere are not shown through links either', async () => {
    for (const name of ['link.png', 'link/secret.png', path.join(given, 'link', 'secret.png')])
      assert.equal((await picture(name)).status, 403, name);
    assert.equal((await send('/api/folders?path=link', asPage())).status, 403);
    const listed = (await send('/api/folders?path=.', asPage())).body;
    assert.doesNotMatch(listed, /"link"/, 'nor listed');
  });

  it('of the page itself are all that its addresses can reach', async () => {
    for (const address of [
      '/../package.json',
      '/..%2f..%2fpackage.json',
      '/assets/../../index.js',
      '/%2e%2e/index.js',
    ]) {
      const reply = await send(address, asPage());
      assert.equal(reply.status, 404, address);
    }
  });

  it('that are not pictures give a message, and are never sent as they are', async () => {
    writeFileSync(path.join(given, 'page.png'), '<script>alert(1)</script>');
    const reply = await picture('page.png');
    assert.equal(reply.status, 422);
    assert.match(reply.body, /can't be decoded/);
    assert.doesNotMatch(reply.body, /<script/);
    assert.equal((await picture('gone.png')).status, 404);
  });

  it('of more pixels than memory can hold are refused before they are decoded', async () => {
    // a PNG whose header claims 60,000 x 60,000
    const bomb = await sharp({ create: { width: 4, height: 4, channels: 3, background: 'red' } })
      .png()
      .toBuffer();
    bomb.writeUInt32BE(60_000, 16);
    bomb.writeUInt32BE(60_000, 20);
    writeFileSync(path.join(given, 'bomb.png'), bomb);
    const reply = await picture('bomb.png');
    assert.equal(reply.status, 422);
    assert.match(reply.body, /more than 178956970 pixels/);
  });
});

describe('what is sent', () => {
  it('is bounded in bytes', async () => {
    const json = asPage({ origin: own(), 'content-type': 'application/json' });
    const reply = await send('/api/tasks/x/cancel', json, {
      method: 'POST',
      body: ' '.repeat(300 * 1024),
    });
    assert.equal(reply.status, 413);
    const upload = await send(
      '/api/upload/look',
      asPage({ origin: own(), 'content-length': String(2 ** 40) }),
      {
        method: 'POST',
      },
    ).catch(() => ({ status: 413 }));
    assert.equal(upload.status, 413);
  });

  it('back forbids foreign content, framing and caching', async () => {
    for (const address of ['/', '/api/runs', '/nothing']) {
      const { headers } = await send(address, asPage());
      assert.equal(headers['content-security-policy'], CONTENT_SECURITY_POLICY);
      assert.equal(headers['x-content-type-options'], 'nosniff');
      assert.equal(headers['x-frame-options'], 'DENY');
      assert.equal(headers['referrer-policy'], 'no-referrer');
      assert.equal(headers['cache-control'], 'no-store');
      assert.equal(headers['access-control-allow-origin'], undefined);
    }
    assert.match(CONTENT_SECURITY_POLICY, /default-src 'none'/);
    assert.doesNotMatch(CONTENT_SECURITY_POLICY, /unsafe|\*|http/);
  });
});

describe('the page', () => {
  it('runs no injected script, and loads nothing from the network', async (t) => {
    const browser: Browser | string = await launchBrowser();
    if (typeof browser === 'string') return t.skip(browser);
    // a run whose name is an attack
    const name = '<img src=x onerror="document.title=1">';
    mkdirSync(path.join(given, name));
    writeFileSync(path.join(given, name, 'config.json'), '{');
    writeFileSync(path.join(given, name, 'metrics.jsonl'), '{"step":1,"loss":1}\n');
    const open = await openStudio(browser, [given]);
    try {
      await open.text('.runs tr', /<img src=x/);
      await open.check();
      assert.equal(await open.page.title(), 'Runs – dino studio');
      const outcome = await open.page.evaluate(`(async () => {
        const script = document.createElement('script');
        script.textContent = 'window.slipped = true';
        document.head.append(script);
        const far = await fetch('https://example.com/').then(() => 'loaded', () => 'refused');
        return [window.slipped === true, far];
      })()`);
      assert.deepEqual(outcome, [false, 'refused']);
      assert.deepEqual(open.stopped, [], 'the policy refused it before it was asked for');
    } finally {
      await open.close();
      await browser.close();
    }
  });
});

describe('another address of loopback', () => {
  // elsewhere than on Linux only 127.0.0.1 is there, unless it is set up
  const skip = process.platform === 'linux' ? false : 'only Linux has all of 127.0.0.0/8';
  it('opens by the link that it shows', { skip }, async () => {
    const open = await startStudio({ folders: [given], port: 0, host: '127.0.0.2' });
    try {
      assert.match(open.url, /^http:\/\/127\.0\.0\.2:/);
      assert.equal((await fetch(open.url)).status, 200);
    } finally {
      await open.close();
    }
  });

  it('is a name of that studio alone', () => {
    const usual = ['127.0.0.1', '[::1]', 'localhost'];
    for (const host of ['127.0.0.1', 'localhost', '::1'])
      assert.deepEqual([...allowedHosts(host)].sort(), usual);
    assert.deepEqual([...allowedHosts('127.0.0.2')].sort(), ['127.0.0.1', '127.0.0.2', '[::1]', 'localhost']);
  });
});

describe('an address other than loopback', () => {
  it('lets in whoever has the token, only under this machine’s names', async () => {
    const open = await startStudio({ folders: [given], port: 0, host: '0.0.0.0' });
    try {
      const { port } = open;
      assert.equal((await send('/api/runs', {}, { port })).status, 401);
      const bearer = { authorization: `Bearer ${open.token}` };
      assert.equal((await send('/api/runs', bearer, { port })).status, 200);
      assert.equal((await send('/api/runs', { ...bearer, host: 'evil.example' }, { port })).status, 421);
    } finally {
      await open.close();
    }
    assert.deepEqual([...allowedHosts('127.0.0.1')].sort(), ['127.0.0.1', '[::1]', 'localhost']);
    assert.ok(allowedHosts('192.0.2.7').has('192.0.2.7'));
    assert.ok(!allowedHosts('192.0.2.7').has('192.0.2.8'));
  });

  it('is used only when it is asked for', async () => {
    const addresses = Object.values(os.networkInterfaces())
      .flatMap((one) => one ?? [])
      .filter(({ internal, family }) => !internal && family === 'IPv4');
    for (const { address } of addresses) {
      const outcome = await fetch(`http://${address}:${studio.port}/`).then(
        () => 'answered',
        () => 'refused',
      );
      assert.equal(outcome, 'refused', address);
    }
  });
});

describe('two studios', () => {
  it('of one folder take two ports, and a port that is given and taken is an error', async () => {
    const [one, two] = [await startStudio({ folders: [given] }), await startStudio({ folders: [given] })];
    try {
      assert.notEqual(one.port, two.port);
      await assert.rejects(
        startStudio({ folders: [given], port: one.port }),
        /is taken, perhaps by another studio/,
      );
    } finally {
      await one.close();
      await two.close();
    }
  });
});
