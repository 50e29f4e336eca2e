/** Fetching libtorch, from an index on loopback: as a user with a network, without one, and with one that lies. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, describe, it } from 'node:test';
import { fetchLibtorch, type FetchOptions } from '../../scripts/fetch-libtorch.mjs';
import { inspectLibtorch, libraryName, TORCH_VERSION } from '../../scripts/find-libtorch.mjs';
import { chooseWheel, indexSettings } from '../../scripts/python-index.mjs';
import { SetupError } from '../../scripts/setup-error.mjs';
import {
  type IndexOptions,
  makeWheel,
  type Member,
  serveIndex,
  serveProxy,
  sha256,
  type TestIndex,
  type TestWheel,
} from '../testing/wheels.js';

const folder = mkdtempSync(path.join(tmpdir(), 'dino fetch ü-'));
after(() => rmSync(folder, { recursive: true }));
let indexes: TestIndex[] = [];
afterEach(async () => {
  for (const index of indexes) await index.close();
  indexes = [];
});

const serve = async (wheels: TestWheel[], options: IndexOptions = {}): Promise<TestIndex> => {
  const index = await serveIndex(wheels, options);
  indexes.push(index);
  return index;
};

const MACHINE = 'linux-x64';
const CPU = libraryName('torch_cpu');
const library = randomBytes(200_000);
const member = (name: string, data: Uint8Array | string): Member => ({ name, data: Buffer.from(data) });
/** Names as in PyTorch's wheel. The large library between is what must not be downloaded. */
const members = (): Member[] => [
  member('torch/__init__.py', 'raise SystemExit'),
  member('torch/version.py', `__version__ = '${TORCH_VERSION}'\n`),
  member('torch/include/ATen/ATen.h', '// headers'),
  member(`torch/lib/${CPU}`, library),
  member(`torch/lib/${libraryName('c10')}`, randomBytes(1000)),
  member(`torch/lib/${libraryName('torch_cuda')}`, randomBytes(1_000_000)),
  member(`torch-${TORCH_VERSION}.dist-info/METADATA`, 'Name: torch'),
];
const forCpu = (more: Member[] = []): TestWheel =>
  makeWheel(`torch-${TORCH_VERSION}+cpu-cp312-cp312-manylinux_2_28_x86_64.whl`, [...members(), ...more]);
const cuda = ['runtime', 'cupti'].map((name) =>
  makeWheel(`nvidia_cuda_${name}-13.2.86-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl`, [
    member(`nvidia/cu13/lib/lib${name === 'cupti' ? 'cupti' : 'cudart'}.so.13`, name),
    member('nvidia/cu13/lib/libnvperf_host.so', randomBytes(5000)),
  ]),
);
const published = makeWheel(`torch-${TORCH_VERSION}-cp312-cp312-manylinux_2_28_x86_64.whl`, members());
const known = Object.fromEntries(
  [published, ...cuda].map(({ filename, bytes, record }) => [
    filename,
    { sha256: sha256(bytes), bytes: bytes.length, record },
  ]),
);

let places = 0;
const newPlace = (): string => path.join(folder, `cache ${places++}`);
const get = (url: string, cache: string, more: FetchOptions = {}) =>
  fetchLibtorch({
    ...{ machine: MACHINE, log: () => {}, known: {}, tries: 2, ...more },
    env: { DINO_CACHE: cache, PIP_CONFIG_FILE: '/dev/null', PIP_INDEX_URL: url, ...more.env },
  });
const filesIn = (place: string): string[] =>
  readdirSync(place, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(place, path.join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
const LIBRARIES = [`torch/lib/${libraryName('c10')}`, `torch/lib/${CPU}`];
const OF_TORCH = [...LIBRARIES, 'torch/version.py'].sort();

for (const html of [false, true]) {
  it(`fetches a build for the CPU whole, from an index in ${html ? 'links' : 'JSON'}`, async () => {
    const index = await serve([forCpu()], { html });
    const lines: string[] = [];
    const cache = newPlace();
    const { folder: place } = await get(index.url, cache, { log: (line) => lines.push(line) });
    assert.deepEqual(filesIn(place), [`torch-${TORCH_VERSION}.dist-info/METADATA`, ...OF_TORCH]);
    assert.deepEqual(readFileSync(path.join(place, 'torch', 'lib', CPU)), library);
    assert.equal(inspectLibtorch(place, 'cache').problem, null);
    assert.ok(
      lines.some(
        (line) => /\d+ MB to download from 127\.0\.0\.1.* MB in /.test(line) && line.includes(place),
      ),
    );
    assert.deepEqual(readdirSync(path.dirname(place)), [path.basename(place)]); // no lock, no downloads
    const before = index.sent();
    assert.equal((await get(index.url, cache)).bytes, 0);
    assert.equal(index.sent(), before);
  });
}

it("downloads only what it needs of the published wheel, and CUDA's two libraries that it links to", async () => {
  const index = await serve([published, ...cuda]);
  const { folder: place, bytes } = await get(index.url, newPlace(), { known });
  assert.deepEqual(
    filesIn(place).filter((file) => !file.includes('.dist-info')),
    ['nvidia/cu13/lib/libcudart.so.13', 'nvidia/cu13/lib/libcupti.so.13', ...OF_TORCH],
  );
  assert.ok(bytes < published.bytes.length / 2, String(bytes));
  assert.ok(index.sent() < published.bytes.length / 2, String(index.sent()));
});

it('takes the published wheel whole where a server sends whole files only', async () => {
  const index = await serve([published, ...cuda], { ranges: false });
  const { folder: place } = await get(index.url, newPlace(), { known });
  assert.deepEqual(readFileSync(path.join(place, 'torch', 'lib', CPU)), library);
});

it('adds the headers to a copy that has none', async () => {
  const index = await serve([forCpu()]);
  const cache = newPlace();
  await get(index.url, cache);
  const { folder: place } = await get(index.url, cache, { headers: true });
  assert.deepEqual(
    filesIn(place).filter((file) => !file.includes('.dist-info')),
    ['torch/include/ATen/ATen.h', ...OF_TORCH],
  );
  assert.equal(inspectLibtorch(place, 'cache', { headers: true }).problem, null);
});

it('only says what it would do with dryRun', async () => {
  const index = await serve([forCpu()]);
  const cache = newPlace();
  await get(index.url, cache, { dryRun: true });
  assert.equal(existsSync(cache), false);
});

it('goes on where a connection was cut', async () => {
  const index = await serve([published, ...cuda], { cut: { name: published.filename, after: 100_000 } });
  const { folder: place } = await get(index.url, newPlace(), { known });
  assert.deepEqual(readFileSync(path.join(place, 'torch', 'lib', CPU)), library);
  assert.ok(index.sent() < published.bytes.length / 2, 'nothing was downloaded twice');
});

it('goes on where an earlier call failed', async () => {
  const cut = { name: published.filename, after: 100_000 };
  const first = await serve([published, ...cuda], { cut });
  const cache = newPlace();
  await assert.rejects(get(first.url, cache, { known, tries: 1 }), SetupError);
  assert.equal(existsSync(path.join(cache, 'libtorch', `${TORCH_VERSION}-${MACHINE}`)), false);
  const second = await serve([published, ...cuda]);
  const { folder: place } = await get(second.url, cache, { known });
  assert.deepEqual(readFileSync(path.join(place, 'torch', 'lib', CPU)), library);
  assert.ok(second.sent() < library.length, String(second.sent()));
});

it('takes wheels from a folder, without a network', async () => {
  const links = path.join(folder, 'wheels');
  mkdirSync(links, { recursive: true });
  const { filename, bytes } = forCpu();
  writeFileSync(path.join(links, filename), bytes);
  const env = { PIP_NO_INDEX: '1', PIP_FIND_LINKS: `file://${encodeURI(links)}` };
  const { folder: place } = await get('http://127.0.0.1:9/', newPlace(), { env });
  assert.deepEqual(readFileSync(path.join(place, 'torch', 'lib', CPU)), library);
});

describe('what must not be used', () => {
  /** Rejected with these words, and nothing is where libtorch is looked for. */
  async function isRefused(index: TestIndex, words: RegExp, options: FetchOptions = {}): Promise<string> {
    const cache = newPlace();
    await assert.rejects(get(index.url, cache, options), (error: Error) => {
      assert.ok(error instanceof SetupError, String(error.stack));
      assert.match(error.message, words);
      return true;
    });
    const place = path.join(cache, 'libtorch', `${TORCH_VERSION}-${MACHINE}`);
    assert.equal(existsSync(place), false);
    return cache;
  }

  it('a wheel that is not what the index says', async () => {
    await isRefused(await serve([forCpu()], { hash: '0'.repeat(64) }), /its SHA-256 is not 0{64}/);
  });
  it('a wheel without a SHA-256', async () => {
    await isRefused(await serve([forCpu()], { hash: 'none' }), /gives no SHA-256 for torch-/);
  });
  it('a wheel that bears the name of the published one', async () => {
    const other = makeWheel(published.filename, members());
    await isRefused(await serve([other, ...cuda]), /is not the one published/, { known });
  });
  /** Pins as if the index knew the published hash for whatever it serves. */
  const pinsFor = (bytes: number) =>
    Object.fromEntries(
      Object.entries(known).map(([name, pin]) => [
        name,
        { ...pin, sha256: sha256(published.bytes), bytes: name === published.filename ? bytes : pin.bytes },
      ]),
    );
  it('parts of a wheel that bears the name and the hash of the published one', async () => {
    const other = makeWheel(published.filename, members());
    const index = await serve([other, ...cuda], { hash: sha256(published.bytes) });
    await isRefused(index, /is not the one published: the SHA-256 of its RECORD/, {
      known: pinsFor(other.bytes.length),
    });
  });
  it('a library with one bit changed', async () => {
    const bytes = Buffer.from(published.bytes);
    bytes[bytes.indexOf(library.subarray(100_000, 100_010))]! ^= 1; // random bytes are stored as they are
    const pins = pinsFor(bytes.length);
    const index = await serve([{ ...published, bytes }, ...cuda], { hash: sha256(published.bytes) });
    const cache = await isRefused(index, /libtorch_cpu.* is damaged: its SHA-256 does not match/, {
      known: pins,
    });
    // the damaged part is not kept
    const good = await serve([published, ...cuda]);
    const { folder: place } = await get(good.url, cache, { known });
    assert.deepEqual(readFileSync(path.join(place, 'torch', 'lib', CPU)), library);
  });
  for (const name of ['../evil', '/tmp/evil', 'torch/lib/../../../evil', 'C:\\evil', 'torch/lib/a\\..\\evil'])
    it(`a wheel with a file named ${name}`, async () => {
      const cache = await isRefused(await serve([forCpu([member(name, 'evil')])]), /would be written to/);
      assert.ok(!filesIn(folder).some((file) => file.includes('evil')));
      assert.ok(!filesIn(cache).some((file) => file.endsWith('.so')));
    });
  it('a wheel with a symbolic link', async () => {
    const link = { ...member('torch/lib/link.so', '/etc/passwd'), mode: 0o120777 };
    await isRefused(await serve([forCpu([link])]), /link\.so is encrypted, a link/);
  });
  it('a wheel in which two files have one name', async () => {
    await isRefused(await serve([forCpu([member('torch/version.py', 'x')])]), /two files have one name/);
  });
  it('a file that is not a wheel', async () => {
    const { filename } = forCpu();
    const page = { filename, bytes: Buffer.from('<html>Please log in</html>'), record: '' };
    await isRefused(await serve([page]), /is not a zip file, or is cut off/);
  });
});

describe('what a user can mend is said', () => {
  const failsWith = (promise: Promise<unknown>, words: RegExp): Promise<void> =>
    assert.rejects(promise, (error: Error) => {
      assert.ok(error instanceof SetupError, String(error.stack));
      assert.match(error.message, words);
      return true;
    });

  it('no network', async () => {
    const index = await serve([]);
    await index.close();
    await failsWith(get(index.url, newPlace()), /127\.0\.0\.1.* can't be reached: .*ECONNREFUSED/);
  });
  it('an index without PyTorch, and one that needs a password', async () => {
    await failsWith(
      get((await serve([])).url, newPlace()),
      /torch 2\.\d+\.\d+ for linux-x64 was not found in http/,
    );
    const closed = await serve([forCpu()], { account: 'me:secret' });
    await failsWith(get(closed.url.replace('me:secret@', ''), newPlace()), /answered 401/);
  });
  it('an account in the address is used, and not shown', async () => {
    const index = await serve([forCpu()], { account: 'me:secret' });
    const lines: string[] = [];
    await get(index.url, newPlace(), { log: (line) => lines.push(line) });
    assert.ok(lines.length > 0 && !lines.join('\n').includes('secret'));
    const empty = await serve([], { account: 'me:secret' });
    await assert.rejects(get(empty.url, newPlace()), (error: Error) => !error.message.includes('secret'));
  });
  it('no library for a machine', async () => {
    const index = await serve([forCpu()]);
    await failsWith(
      get(index.url, newPlace(), { machine: 'freebsd-x64' }),
      /for freebsd-x64 was not found.*PyTorch publishes no library for freebsd-x64/s,
    );
  });
  it('too little space', async () => {
    const index = await serve([published, ...cuda], { ranges: false });
    const large = { ...known, [published.filename]: { ...known[published.filename]!, bytes: 2 ** 60 } };
    await failsWith(
      get(index.url, newPlace(), { known: large }),
      /MB of free space; libtorch needs.*DINO_CACHE=/s,
    );
  });
  it('a folder that is a file, or may not be written', async () => {
    const index = await serve([forCpu()]);
    const file = path.join(folder, 'file');
    writeFileSync(file, '');
    await failsWith(
      get(index.url, path.join(file, 'cache')),
      /can't be written: .*\(ENOTDIR\).*DINO_CACHE=/s,
    );
    if (process.platform === 'linux')
      await failsWith(
        get(index.url, '/sys/dino'),
        /can't be written: .*\((EACCES|EPERM|EROFS)\).*DINO_CACHE=/s,
      );
  });
});

describe('where the index is', () => {
  const home = path.join(folder, 'home');
  const write = (name: string, text: string): string => {
    const file = path.join(home, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
    return file;
  };
  const none = { XDG_CONFIG_DIRS: path.join(home, 'none'), XDG_CONFIG_HOME: path.join(home, 'none') };

  it('is what pip and uv are told, in their order', () => {
    const own = indexSettings({ ...none }, 'linux', path.join(home, 'nobody'));
    assert.ok(own.indexes.length > 0);
    write(
      '.config/pip/pip.conf',
      '# ours\n[global]\nindex-url = https://a.example/simple\nextra-index-url =\n    https://b.example/simple\n    https://c.example/simple\ncert = /c.pem\n[list]\nindex-url = https://wrong.example\n',
    );
    const env = { ...none, XDG_CONFIG_HOME: path.join(home, '.config') };
    const file = indexSettings(env, 'linux', home);
    assert.deepEqual(file.indexes, [
      'https://a.example/simple',
      'https://b.example/simple',
      'https://c.example/simple',
    ]);
    assert.equal(file.cert, '/c.pem');
    const uv = indexSettings({ ...env, UV_DEFAULT_INDEX: 'https://uv.example/simple' }, 'linux', home);
    assert.equal(uv.indexes[0], 'https://uv.example/simple');
    const pip = indexSettings({
      ...env,
      UV_INDEX_URL: 'https://uv.example',
      PIP_INDEX_URL: 'https://pip.example',
    });
    assert.equal(pip.indexes[0], 'https://pip.example');
    const venv = path.join(home, 'venv');
    write(
      'venv/pip.conf',
      '[install]\nindex_url: https://venv.example/simple\n[global]\nindex-url=https://less.example\n',
    );
    assert.equal(
      indexSettings({ ...env, VIRTUAL_ENV: venv }, 'linux', home).indexes[0],
      'https://venv.example/simple',
    );
    assert.deepEqual(indexSettings({ ...none, PIP_NO_INDEX: '1' }, 'linux', home).indexes, []);
  });

  it('goes through a proxy, except to hosts that no_proxy names', async () => {
    const index = await serve([forCpu()]); // it answers requests for whole addresses, as a proxy does
    const proxy = new URL(index.url).origin;
    const env = { http_proxy: proxy };
    await get('http://packages.example/simple/', newPlace(), { env });
    await assert.rejects(
      get('http://packages.invalid/simple/', newPlace(), { env: { ...env, no_proxy: '.invalid' }, tries: 1 }),
      /packages\.invalid.* can't be reached/,
    );
  });
});

describe('encrypted connections', () => {
  /** A certificate that no system trusts; null without openssl. */
  function certificate(): { key: string; cert: string; file: string } | null {
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => path.join(folder, name)) as [string, string];
    const made = spawnSync('openssl', [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, '-days', '2'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'],
    ]);
    if (made.status !== 0) return null;
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8'), file: cert };
  }

  it("are trusted by pip's certificates, and go through a proxy with its account", async (test) => {
    const tls = certificate();
    if (tls === null) return test.skip('no openssl');
    const index = await serve([forCpu()], { tls });
    await assert.rejects(get(index.url, newPlace(), { tries: 1 }), (error: Error) => {
      assert.match(error.message, /can't be reached: .*certificate.*PIP_CERT=/s);
      return true;
    });
    const proxy = await serveProxy('me:secret');
    const env = { PIP_CERT: tls.file, HTTPS_PROXY: proxy.url };
    await get(index.url, newPlace(), { env });
    assert.deepEqual([...new Set(proxy.connections)], [new URL(index.url).host]);
    const closed = { ...env, HTTPS_PROXY: proxy.url.replace('me:secret@', '') };
    await assert.rejects(get(index.url, newPlace(), { env: closed, tries: 1 }), (error: Error) => {
      assert.match(error.message, /the proxy 127\.0\.0\.1:\d+ answered 407/);
      return true;
    });
    await proxy.close();
  });
});

describe('which wheel', () => {
  const file = (filename: string) => ({
    filename,
    url: `https://x.example/${filename}`,
    sha256: null,
    size: null,
  });
  const names = [
    'torch-2.15.0-cp314-cp314t-manylinux_2_28_x86_64.whl',
    'torch-2.15.0-cp313-cp313-manylinux_2_28_x86_64.whl',
    'torch-2.15.0-cp312-cp312-manylinux_2_28_x86_64.whl',
    'torch-2.15.0-cp312-cp312-manylinux_2_28_aarch64.whl',
    'torch-2.15.0-cp312-cp312-macosx_14_0_arm64.whl',
    'torch-2.15.0-cp312-cp312-win_amd64.whl',
    'torch-2.14.1-cp312-cp312-manylinux_2_28_x86_64.whl',
    'torch-2.15.0.tar.gz',
  ].map(file);
  const choose = (machine: string, files = names, version = '2.15.0', pins = {}) =>
    chooseWheel(files, { version, machine, known: pins })?.filename;

  it('fits the machine and the version, a known one first, then one for the CPU', () => {
    assert.equal(choose('linux-x64'), names[2]!.filename);
    assert.equal(choose('linux-arm64'), names[3]!.filename);
    assert.equal(choose('darwin-arm64'), names[4]!.filename);
    assert.equal(choose('win32-x64'), names[5]!.filename);
    assert.equal(choose('darwin-x64'), undefined);
    const cpu = file('torch-2.15.0+cpu-cp313-cp313-manylinux_2_28_x86_64.whl');
    assert.equal(choose('linux-x64', [...names, cpu]), cpu.filename);
    assert.equal(
      choose('linux-x64', [...names, cpu], '2.15.0', { [names[1]!.filename]: {} }),
      names[1]!.filename,
    );
  });

  it('is the newest of those that a star allows', () => {
    const several = ['13.2.9', '13.2.86', '13.3.1', '13.20.1'].map((version) =>
      file(`nvidia_cuda_runtime-${version}-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl`),
    );
    assert.equal(choose('linux-x64', several, '13.2.*'), several[1]!.filename);
  });
});
