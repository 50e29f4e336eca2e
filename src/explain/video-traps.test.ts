/** Files named like videos that make ffmpeg, left to itself, read other files or hosts. The real program is asked. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { DataError } from '../errors.js';
import { putStrange } from '../testing/strange-files.js';
import { findFfmpeg, readVideo } from './ffmpeg.js';
import { probeVideo } from './probe-video.js';
import { testFfprobe } from '../testing/ffprobe.js';

const ffmpeg = await findFfmpeg().catch(() => null);
const ffprobe = await testFfprobe();
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-video-traps-'));
/** A video outside, which must not be seen through any of the others. */
const secret = path.join(folder, 'secret.mp4');
const at = (name: string): string => path.join(folder, name);

const make = (output: string, ...options: string[]): void => {
  const source = ['-f', 'lavfi', '-i', 'color=c=red:s=32x32:d=0.4:r=10', ...options];
  execFileSync(ffmpeg!, ['-loglevel', 'error', '-y', ...source, output]);
};
before(() => {
  if (ffmpeg !== null) make(secret);
});
after(() => rmSync(folder, { recursive: true }));

/** Reads every frame. */
async function frames(file: string): Promise<number> {
  let count = 0;
  for await (const frame of readVideo(ffmpeg!, file)) count += frame.width > 0 ? 1 : 0;
  return count;
}

const refused = async (file: string, reason: RegExp): Promise<void> => {
  const probes = [ffprobe, null].map((program) => () => probeVideo(ffmpeg!, file, program));
  for (const read of [...probes, () => frames(file)])
    await assert.rejects(read, (error: Error) => {
      assert.ok(error instanceof DataError);
      assert.match(error.message, reason);
      assert.ok(error.message.includes(file));
      return true;
    });
};

describe(
  'a file that is named like a video',
  { skip: ffmpeg === null && 'no ffmpeg', timeout: 120_000 },
  () => {
    it('and is a playlist opens nothing, here or on a network', async () => {
      let asked = 0;
      const server = createServer((_, response) => {
        asked++;
        response.end();
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as AddressInfo;
      try {
        for (const target of [`file://${secret}`, secret, 'secret.mp4', `http://127.0.0.1:${port}/x.ts`]) {
          writeFileSync(
            at('list.mp4'),
            `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n${target}\n#EXT-X-ENDLIST\n`,
          );
          await refused(at('list.mp4'), /it is a playlist \(HLS\), which names other files; expected MP4/);
        }
      } finally {
        server.close();
      }
      assert.equal(asked, 0);
    });

    it('and lists other files in another way opens none', async () => {
      const texts: [string, RegExp][] = [
        [`ffconcat version 1.0\nfile ${secret}\n`, /it is a list of other files \(ffconcat\)/],
        [`<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>`, /which can name other files/],
        [`[playlist]\nFile1=${secret}\n`, /which can name other files/],
        [`1\n00:00:00,000 --> 00:00:02,000\nsubtitle\n`, /it is not a video/],
        ['v=0\nm=video 5004 RTP/AVP 96\nc=IN IP4 127.0.0.1\n', /it is not a video/],
        [`; ffmetadata1\ntitle=x\n`, /it is not a video/],
      ];
      for (const [text, reason] of texts) {
        writeFileSync(at('text.mp4'), text);
        await refused(at('text.mp4'), reason);
      }
    });

    it('and says that its pictures lie in another file shows nothing of that file', async () => {
      // QuickTime's external data reference: the flag that the data lie here is cleared, and an alias names another file
      const file = at('dref.mp4');
      const bytes = readFileSync(secret);
      const dref = bytes.indexOf('dref');
      const url = bytes.indexOf('url ', dref);
      const alias = Buffer.alloc(12 + 150 + 4 + secret.length + (secret.length % 2) + 4);
      alias.writeUInt32BE(alias.length, 0);
      alias.write('alis', 4, 'latin1');
      alias.writeUInt16BE(150, 16); // size of the record
      alias.writeUInt16BE(2, 12 + 150); // kind 2: the absolute path
      alias.writeUInt16BE(secret.length, 12 + 152);
      alias.write(secret, 12 + 154);
      alias.writeInt16BE(-1, alias.length - 4);
      const entry = bytes.subarray(url - 4, url + 8); // size, "url ", version and flags
      const grown = alias.length - entry.length;
      const changed = Buffer.concat([bytes.subarray(0, url - 4), alias, bytes.subarray(url + 8)]);
      // every box around it grows
      for (const box of ['moov', 'trak', 'mdia', 'minf', 'dinf', 'dref']) {
        const place = bytes.lastIndexOf(box, url) - 4;
        changed.writeUInt32BE(changed.readUInt32BE(place) + grown, place);
      }
      // the pictures of this file itself are gone
      const mdat = changed.indexOf('mdat');
      changed.fill(0, mdat + 4, mdat + 4 + 400);
      writeFileSync(file, changed);
      const trace = spawnSync(
        ffmpeg!,
        ['-v', 'debug', '-enable_drefs', '1', '-use_absolute_path', '1', '-i', file],
        {
          encoding: 'utf8',
        },
      );
      assert.match(trace.stderr, /[Oo]pening.*secret\.mp4/, 'the trap is one when it is let');
      await frames(file).then(
        (count) => assert.fail(`${count} frames`),
        (error: Error) => assert.match(error.message, /Can't read the video/),
      );
    });

    it('and is no file is neither waited for nor read', async () => {
      await putStrange('a FIFO', at('fifo.mp4'));
      await refused(at('fifo.mp4'), /it is a FIFO/);
      await putStrange('a link to a device', at('device.mp4'));
      await refused(at('device.mp4'), /it is a device/);
      writeFileSync(at('sparse.mp4'), '');
      truncateSync(at('sparse.mp4'), 2 ** 40);
      await refused(at('sparse.mp4'), /it is not a video/);
      writeFileSync(at('empty.mp4'), '');
      await refused(at('empty.mp4'), /it is empty/);
    });

    it('is that file, whatever characters its name has', async () => {
      const before = process.cwd();
      process.chdir(folder);
      try {
        for (const name of [
          '-i.mp4',
          'concat:secret.mp4|secret.mp4',
          'http:x.mp4',
          'file:x.mp4',
          'a%03d.mp4',
          '-',
        ]) {
          copyFileSync(secret, path.join(folder, name));
          for (const program of [ffprobe, null])
            assert.equal((await probeVideo(ffmpeg!, name, program)).fps, 10, name);
          assert.equal(await frames(name), 4, name);
        }
      } finally {
        process.chdir(before);
      }
    });

    it('is read when it is a video of any of the kinds that are named', async () => {
      const kinds: Record<string, string[]> = {
        mp4: ['-c:v', 'mpeg4'],
        mov: ['-c:v', 'mpeg4', '-movflags', '+faststart'],
        mkv: ['-c:v', 'mpeg4'],
        webm: ['-c:v', 'libvpx'],
        avi: ['-c:v', 'mpeg4'],
        ts: ['-c:v', 'mpeg2video', '-r', '25'],
        mpg: ['-c:v', 'mpeg2video', '-r', '25'],
        m2v: ['-c:v', 'mpeg2video', '-r', '25', '-f', 'mpeg2video'],
        ogv: ['-c:v', 'libtheora'],
        flv: ['-c:v', 'flv1'],
        wmv: ['-c:v', 'wmv2'],
        gif: [],
        nut: ['-c:v', 'mpeg4'],
        y4m: ['-pix_fmt', 'yuv420p'],
        m2ts: ['-c:v', 'mpeg2video', '-r', '25', '-f', 'mpegts', '-mpegts_m2ts_mode', '1'],
      };
      for (const [ending, options] of Object.entries(kinds)) {
        make(at(`kind.${ending}`), ...options);
        assert.ok((await frames(at(`kind.${ending}`))) > 0, ending);
        const rate = options.includes('-r') ? 25 : 10;
        const byText = await probeVideo(ffmpeg!, at(`kind.${ending}`), null);
        const byJson = await probeVideo(ffmpeg!, at(`kind.${ending}`), ffprobe);
        for (const { fps } of [byText, byJson]) assert.ok(Math.abs(fps - rate) < 0.01, `${ending}: ${fps}`);
        // the text has hundredths, and an older ffmpeg may not know how long a GIF is
        const off = Math.abs((byText.seconds ?? byJson.seconds ?? 0) - (byJson.seconds ?? 0));
        assert.ok(off <= 0.011, `${ending}: ${byText.seconds}, ${byJson.seconds}`);
      }
    });
  },
);
