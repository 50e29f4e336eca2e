/**
 * For tests: a real headless Chromium, and a server for it that only this machine can reach. The browser is one on PATH (or
 * at PUPPETEER_EXECUTABLE_PATH), else the one in the npm package @sparticuz/chromium, so that a machine where nothing was
 * installed by hand runs the same tests. Pages can't load anything from elsewhere: such requests are blocked and recorded.
 */
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'];

/** Software WebGL: the same pixels on every machine. */
const SAME_PIXELS = ['--use-angle=swiftshader', '--enable-unsafe-swiftshader'];

const FLAGS = [
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
];

/** An installed Chromium, or null. */
export function installedBrowser(searchPath = process.env['PATH'] ?? ''): string | null {
  const given = process.env['PUPPETEER_EXECUTABLE_PATH'];
  if (given !== undefined && existsSync(given)) return given;
  for (const folder of searchPath.split(path.delimiter)) {
    for (const name of NAMES) {
      const file = path.join(folder, name);
      if (folder !== '' && existsSync(file)) return file;
    }
  }
  return null;
}

/** Unpacks the npm package's browser into the system's temporary folder; null if it has none for this machine. */
async function packagedBrowser(): Promise<{ executablePath: string; libraryPath: string } | null> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return null;
  // the package includes libraries that a bare machine lacks, and unpacks them if it thinks it runs in a Lambda function
  process.env['AWS_LAMBDA_JS_RUNTIME'] ??= 'nodejs22.x';
  try {
    const { default: chromium } = await import('@sparticuz/chromium');
    const executablePath = await chromium.executablePath();
    const libraryPath = path.join(os.tmpdir(), 'al2023', 'lib');
    return { executablePath, libraryPath };
  } catch {
    return null;
  }
}

/**
 * Starts a browser. The caller closes it.
 *
 * @param graphics - Flags that choose the renderer; an empty list leaves it to the browser, as for a user.
 * @returns If no browser starts, a sentence that says why, as the reason for skipping a test.
 */
export async function launchBrowser(graphics: readonly string[] = SAME_PIXELS): Promise<Browser | string> {
  const flags = [...FLAGS, ...graphics];
  const problems: string[] = [];
  const start = async (
    executablePath: string,
    args: readonly string[],
    env: Record<string, string | undefined>,
  ): Promise<Browser | null> => {
    try {
      return await puppeteer.launch({
        executablePath,
        args: [...args],
        headless: true,
        env,
        timeout: 60_000,
      });
    } catch (error) {
      problems.push(`${executablePath}: ${(error as Error).message.split('\n').slice(0, 3).join(' ')}`);
      return null;
    }
  };
  const installed = installedBrowser();
  if (installed !== null) {
    const browser = await start(installed, flags, process.env);
    if (browser !== null) return browser;
  }
  const packaged = await packagedBrowser();
  if (packaged !== null) {
    const { executablePath, libraryPath } = packaged;
    // first with the machine's own libraries, then with the package's
    const env = { ...process.env, LD_LIBRARY_PATH: undefined };
    const args = [...flags, '--headless=shell', '--single-process', '--no-zygote'];
    for (const libraries of [undefined, libraryPath]) {
      const browser = await start(executablePath, args, { ...env, LD_LIBRARY_PATH: libraries });
      if (browser !== null) return browser;
    }
  }
  return `no Chromium: ${problems.join('; ') || 'none on PATH, and @sparticuz/chromium has none for this machine'}`;
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.css': 'text/css',
  '.png': 'image/png',
  '.webp': 'image/webp',
  '.onnx': 'application/octet-stream',
};

export interface LocalServer {
  /** http://127.0.0.1:port */
  origin: string;
  close(): Promise<void>;
}

/** Serves folders under prefixes: `{ '/models': folder }` serves `folder/a` at `/models/a`. */
export async function serveFolders(folders: Readonly<Record<string, string>>): Promise<LocalServer> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://127.0.0.1');
    const name = decodeURIComponent(pathname);
    for (const [prefix, folder] of Object.entries(folders)) {
      if (!name.startsWith(`${prefix}/`)) continue;
      const file = path.join(folder, name.slice(prefix.length));
      const isInside = file.startsWith(path.resolve(folder) + path.sep);
      if (!isInside || !existsSync(file) || !statSync(file).isFile()) break;
      response.writeHead(200, {
        'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream',
        'content-length': statSync(file).size,
      });
      createReadStream(file).pipe(response);
      return;
    }
    response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export interface WatchedPage {
  page: Page;
  /** Blocked requests to addresses outside `origin`. */
  stopped: string[];
  /** What went wrong in the page: exceptions, and errors on its console. */
  errors: string[];
}

/** A page that can reach only `origin`. */
export async function openPage(browser: Browser, origin: string): Promise<WatchedPage> {
  const page = await browser.newPage();
  const stopped: string[] = [];
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(`${message.text()} ${message.location().url ?? ''}`.trim());
  });
  await page.setRequestInterception(true);
  page.on('request', (request) => {
    const url = request.url();
    const isLocal = url.startsWith(`${origin}/`) || /^(blob|data):/.test(url);
    if (!isLocal) stopped.push(url);
    void (isLocal ? request.continue() : request.abort()).catch(() => undefined); // the page may be gone
  });
  return { page, stopped, errors };
}
