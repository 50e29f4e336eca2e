/** How the browser is opened: what other users of the machine can see, and what they could do with it. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Browser } from 'puppeteer-core';
import { OneTimeCodes, writeOpeningPage } from '../../studio/invitation.js';
import { launchBrowser } from '../../testing/browser.js';
import { makeImageFolder } from '../../testing/image-folder.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-opening-'));
const images = path.join(folder, 'images');
const runtime = path.join(folder, 'runtime');
const opened = path.join(folder, 'opened');
const opener = path.join(folder, 'browser');
before(async () => {
  await makeImageFolder(images, { classes: 2, perClass: 4 });
  mkdirSync(runtime, { mode: 0o700 });
  // stands where a person's browser would: notes what it was given, and what anybody sees of all processes meanwhile
  writeFileSync(
    opener,
    `#!/bin/sh
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' > '${opened}.seen'
printf '%s' "$1" > '${opened}.new' && mv '${opened}.new' '${opened}'
`,
    { mode: 0o755 },
  );
});
after(() => rmSync(folder, { recursive: true }));

const skip = process.platform === 'linux' ? false : 'the list of processes is read from /proc';

interface Started {
  printed(pattern: RegExp): Promise<RegExpExecArray>;
  end(): Promise<void>;
}

function start(command: string, args: readonly string[]): Started {
  rmSync(opened, { force: true });
  const env = { ...process.env, BROWSER: opener, XDG_RUNTIME_DIR: runtime, DISPLAY: '', WAYLAND_DISPLAY: '' };
  // a group of its own: what is ended is all that it started
  const child = spawn(command, args, { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let text = '';
  let look = (): void => undefined;
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      look();
    });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return {
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        look = () => {
          const found = pattern.exec(text);
          if (found !== null) resolve(found);
        };
        look();
        void ended.then(() => reject(new Error(`it ended, and printed: ${text}`)));
      }),
    async end() {
      child.kill('SIGINT');
      const timer = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), 20_000);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** What the browser was started with, once it was. */
async function pageOpened(): Promise<{ file: string; seen: string }> {
  while (!existsSync(opened)) await new Promise((resolve) => setTimeout(resolve, 50));
  return { file: readFileSync(opened, 'utf8'), seen: readFileSync(`${opened}.seen`, 'utf8') };
}

/** Fails when the list of processes or the page's folder lets somebody else in. @returns The code in the page. */
function holdsItsSecrets(file: string, seen: string, token: string): string {
  assert.ok(file.startsWith(runtime), file);
  assert.ok(seen.includes(file), 'the list was read while the browser was there');
  const code = /open\?code=([\w-]{40,})"/.exec(readFileSync(file, 'utf8'))![1]!;
  for (const secret of [token, code])
    assert.ok(!seen.includes(secret), 'the list of processes shows a secret');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(statSync(path.dirname(file)).mode & 0o777, 0o700);
  return code;
}

async function withBrowser(use: (browser: Browser) => Promise<void>): Promise<string | null> {
  const browser = await launchBrowser();
  if (typeof browser === 'string') return browser;
  try {
    await use(browser);
  } finally {
    await browser.close();
  }
  return null;
}

describe('opening the browser', { skip }, () => {
  it('dino studio shows nobody its token, and lets the browser in once', { timeout: 120_000 }, async (t) => {
    const studio = start(process.execPath, [bin, 'studio', folder, '--port', '0']);
    try {
      const [, origin, token] = await studio.printed(/: (http:\S+)\/open\?token=(\S+)/);
      const { file, seen } = await pageOpened();
      const code = holdsItsSecrets(file, seen, token!);
      assert.equal(
        (await fetch(`${origin}/open?code=${code.slice(1)}`)).status,
        401,
        'a part of it is nothing',
      );
      const problem = await withBrowser(async (browser) => {
        const page = await browser.newPage();
        await page.goto(pathToFileURL(file).href);
        await page.waitForSelector('main h1');
        assert.equal(new URL(page.url()).origin, origin);
        assert.doesNotMatch(page.url(), /code|token/);
      });
      if (problem !== null) {
        t.diagnostic(problem);
        assert.equal((await fetch(`${origin}/open?code=${code}`)).status, 200);
      }
      assert.ok(!existsSync(path.dirname(file)), 'the page is gone once it was used');
      const again = await fetch(`${origin}/open?code=${code}`);
      assert.equal(again.status, 401);
      assert.equal(again.headers.get('set-cookie'), null);
      await studio.printed(
        /warning: the code with which the browser was opened was used a second time, and refused/,
      );
      assert.equal((await fetch(`${origin}/open?token=${token}`)).status, 200, 'the printed link stays good');
    } finally {
      await studio.end();
    }
  });

  it('dino train --studio and its process show nobody theirs', { timeout: 120_000 }, async (t) => {
    if (spawnSync('script', ['--version']).error !== undefined)
      return t.skip('a browser is opened from a terminal alone, and there is no program script to make one');
    const small =
      '--embed-dim 32 --depth 2 --num-heads 2 --out-dim 32 --threads 1 --batch-size 4 --device cpu';
    const words = [
      bin,
      'train',
      images,
      '--output',
      'run',
      ...small.split(' '),
      '--epochs',
      '4000',
      '--studio',
    ];
    const command = [process.execPath, ...words].map((word) => `'${word}'`).join(' ');
    const training = start('script', ['--quiet', '--return', '--command', `exec ${command}`, '/dev/null']);
    try {
      const [, origin, token] = await training.printed(/studio: (http:\S+)\/open\?token=([\w-]+)/);
      const { file, seen } = await pageOpened();
      assert.match(seen, /training-studio-process\.js page /, 'the process of the studio is in the list');
      const code = holdsItsSecrets(file, seen, token!);
      assert.equal((await fetch(`${origin}/open?code=${code}`)).status, 200);
      assert.ok(!existsSync(path.dirname(file)));
      assert.equal((await fetch(`${origin}/open?code=${code}`)).status, 401);
      await training.printed(/warning: the code with which the browser was opened was used a second time/);
    } finally {
      await training.end();
    }
  });

  it('leaves no page behind when nobody opens it', { timeout: 60_000 }, async () => {
    const studio = start(process.execPath, [bin, 'studio', folder, '--port', '0']);
    const { file } = await pageOpened();
    assert.ok(existsSync(file));
    await studio.end();
    assert.ok(!existsSync(path.dirname(file)));
  });
});

describe('codes', () => {
  it('work once, for their studio, and for a while', async () => {
    const codes = new OneTimeCodes();
    const uses: string[] = [];
    const code = codes.issue((use) => uses.push(use));
    assert.equal(new OneTimeCodes().use(code), 'unknown');
    assert.deepEqual([codes.use(code), codes.use(code), codes.use('')], ['opened', 'again', 'unknown']);
    assert.deepEqual(uses, ['opened', 'again']);
    const short = new OneTimeCodes(0);
    const late = short.issue();
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(short.use(late), 'late');
  });
});

describe('where the page lies', { skip }, () => {
  /** Writes a page with these variables, and says where. */
  async function placeWith(env: Record<string, string>): Promise<string> {
    const before = { ...process.env };
    Object.assign(process.env, env);
    try {
      const page = await writeOpeningPage({ invite: () => 'http://127.0.0.1:1/open?code=x' }, assert.fail);
      assert.equal(statSync(path.dirname(page.file)).mode & 0o777, 0o700);
      page.remove();
      return page.file;
    } finally {
      for (const name of Object.keys(env)) {
        if (before[name] === undefined) delete process.env[name];
        else process.env[name] = before[name];
      }
    }
  }

  it('is the user’s runtime folder, unless others can read that', async () => {
    assert.ok((await placeWith({ XDG_RUNTIME_DIR: runtime })).startsWith(runtime));
    const open = path.join(folder, 'open-to-others');
    mkdirSync(open);
    for (const place of [open, path.join(folder, 'not-there'), 'relative', ''])
      assert.ok(!(await placeWith({ XDG_RUNTIME_DIR: place })).startsWith(folder), place);
  });

  it('is a folder that a snap’s browser may read, where that is the default one', async () => {
    const home = path.join(folder, 'home');
    const common = path.join(home, 'snap', 'firefox', 'common');
    mkdirSync(common, { recursive: true });
    const programs = path.join(folder, 'programs');
    mkdirSync(programs);
    writeFileSync(path.join(programs, 'xdg-settings'), '#!/bin/sh\necho firefox_firefox.desktop\n', {
      mode: 0o755,
    });
    const PATH = `${programs}:${process.env['PATH']}`;
    const file = await placeWith({ PATH, HOME: home, XDG_RUNTIME_DIR: runtime });
    assert.ok(file.startsWith(common), file);
  });
});
