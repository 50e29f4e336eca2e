/** Pictures are made in processes of their own: an attack on a decoder there is only that picture's failure. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { DataError } from '../errors.js';
import { putGood, putStrange, STRANGE } from '../testing/strange-files.js';
import { startStudio } from './index.js';
import { Pictures } from './thumbnails.js';

const folder = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'dino-pictures-')));
const good = path.join(folder, 'good 0.png');
/** Takes half a second. */
const large = path.join(folder, 'large.png');
/** 400 bytes whose decoder takes 160 MB. */
const greedy = path.join(folder, 'greedy.avif');

before(async () => {
  await putGood(folder, 1);
  const plain = { create: { width: 8000, height: 8000, channels: 3, background: 'navy' } } as const;
  await sharp(plain).png({ compressionLevel: 1 }).toFile(large);
});
after(() => rmSync(folder, { recursive: true }));

async function withPictures(
  options: Partial<ConstructorParameters<typeof Pictures>[0]>,
  use: (pictures: Pictures) => Promise<void>,
): Promise<void> {
  const pictures = new Pictures({ readBelow: [folder], ...options });
  try {
    await use(pictures);
  } finally {
    pictures.close();
  }
}

/** Processes that this one has started, where the system lists them. */
const children = (): number[] =>
  readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8')
    .split(' ')
    .filter(Boolean)
    .map(Number);

const refused = (asked: Promise<unknown>, reason: RegExp): Promise<void> =>
  assert.rejects(asked, (error: Error) => {
    assert.ok(error instanceof DataError);
    assert.match(error.message, /can't be decoded: /);
    assert.match(error.message, reason);
    return true;
  });

describe('pictures', { timeout: 120_000 }, () => {
  it('are made, many at once, by few processes that stay', async () => {
    await withPictures({}, async (pictures) => {
      const before = new Set(process.platform === 'linux' ? children() : []);
      const made = await Promise.all(Array.from({ length: 60 }, (_, i) => pictures.thumbnail(good, 16 + i)));
      for (const [i, bytes] of made.entries()) {
        const { format, width } = await sharp(bytes).metadata();
        assert.deepEqual([format, width], ['webp', Math.min(16 + i, 40)]);
      }
      assert.deepEqual(await pictures.size(readFileSync(good)), { width: 40, height: 40 });
      if (process.platform !== 'linux') return;
      const started = (): number[] => children().filter((pid) => !before.has(pid));
      const first = started();
      assert.ok(first.length >= 1 && first.length <= Math.min(4, os.availableParallelism()), String(first));
      await pictures.thumbnail(good, 32);
      assert.deepEqual(started(), first);
    });
  });

  it('that cannot be made say why, whatever is in their place', async () => {
    const file = path.join(folder, 'strange.png');
    await withPictures({}, async (pictures) => {
      for (const kind of Object.keys(STRANGE)) {
        const done = await putStrange(kind, file);
        // the words of a file are not quoted to a page, and what decodes by a path doesn't know that the end is missing
        const { reason } = STRANGE[kind]!;
        const told: Record<string, RegExp> = {
          'a file that was cut': /damaged PNG/,
          'a link to a device': /leads outside/,
        };
        await refused(pictures.thumbnail(file, 64), told[kind] ?? reason);
        done();
      }
      rmSync(file, { force: true });
      symlinkSync('/etc/hostname', file);
      await refused(pictures.thumbnail(file, 64), /leads outside the folders that may be read/);
      await refused(pictures.size(Buffer.from('<svg/>')), /not a JPEG, PNG.*: it is something else/);
      assert.ok((await pictures.thumbnail(good, 64)).length > 0);
    });
  });

  it('that take too much memory or too long are given up, and the next one is made', async () => {
    await sharp({ create: { width: 3000, height: 3000, channels: 3, background: 'navy' } })
      .avif({ effort: 0 })
      .toFile(greedy);
    await withPictures({ memoryLimit: 150 * 2 ** 20 }, async (pictures) => {
      await refused(pictures.thumbnail(greedy, 64), /decoding it takes more than 150 MiB of memory/);
      assert.ok((await pictures.thumbnail(good, 64)).length > 0);
    });
    await withPictures({ timeLimitMs: 1 }, async (pictures) => {
      await refused(pictures.thumbnail(large, 64), /decoding it takes more than 0\.001 s/);
      await refused(pictures.thumbnail(large, 64), /decoding it takes more than 0\.001 s/);
    });
    await withPictures({}, async (pictures) => assert.ok((await pictures.thumbnail(large, 64)).length > 0));
  });

  it(
    'whose process dies are failures, and others are made',
    { skip: process.platform !== 'linux' },
    async () => {
      await withPictures({}, async (pictures) => {
        const before = new Set(children());
        await pictures.thumbnail(good, 64);
        // stopped, so that it can't be done before it dies
        const signal = (name: NodeJS.Signals) =>
          children().forEach((pid) => !before.has(pid) && process.kill(pid, name));
        signal('SIGSTOP');
        const asked = refused(
          pictures.thumbnail(large, 64),
          /the process that decoded it has ended \(SIGSEGV\)/,
        );
        await sleep(30);
        signal('SIGSEGV');
        signal('SIGCONT');
        await asked;
        const made = await Promise.all([1, 2, 3].map((n) => pictures.thumbnail(good, 20 + n)));
        assert.ok(made.every((bytes) => bytes.length > 0));
      });
    },
  );

  it(
    'that the studio is asked for are made there too: what ends a decoder leaves the server',
    { skip: process.platform !== 'linux' },
    async () => {
      const studio = await startStudio({ folders: [folder], port: 0 });
      const picture = (file: string): Promise<Response> =>
        fetch(`${studio.origin}/api/picture?path=${encodeURIComponent(file)}`, {
          headers: { authorization: `Bearer ${studio.token}` },
        });
      try {
        const before = new Set(children());
        assert.equal((await picture(good)).status, 200);
        const made = (): number[] => children().filter((pid) => !before.has(pid));
        assert.ok(made().length > 0, 'no process made it');
        let isAnswered = false;
        const asked = picture(large).finally(() => (isAnswered = true));
        // one that dies before it is asked is no picture's failure
        for (await sleep(30); !isAnswered; await sleep(30))
          for (const pid of made()) process.kill(pid, 'SIGSEGV');
        const failed = await asked;
        assert.equal(failed.status, 422);
        assert.match(await failed.text(), /has ended \(SIGSEGV\)/);
        assert.equal((await picture(good)).status, 200);
      } finally {
        await studio.close();
      }
    },
  );

  it('that nobody waits for any more are not begun', async () => {
    await withPictures({}, async (pictures) => {
      const page = new AbortController();
      const all = Array.from({ length: 30 }, () => pictures.thumbnail(large, 64, page.signal));
      const outcomes = Promise.allSettled(all);
      page.abort(new Error('scrolled on'));
      assert.ok((await pictures.thumbnail(good, 64)).length > 0);
      const dropped = (await outcomes).filter((one) => one.status === 'rejected');
      assert.ok(dropped.length >= 26, String(dropped.length));
    });
  });
});
