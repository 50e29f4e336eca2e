import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { DataError } from '../errors.js';
import { testFfprobe } from '../testing/ffprobe.js';
import { findFfmpeg } from './ffmpeg.js';
import { findFfprobe, probeVideo } from './probe-video.js';

const ffmpeg = await findFfmpeg().catch(() => null);
const ffprobe = await testFfprobe();
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-probe-video-'));
const at = (name: string): string => path.join(folder, name);
const video = at('film.mp4');
before(() => {
  if (ffmpeg === null) return;
  const source = ['-f', 'lavfi', '-i', 'color=c=blue:s=32x32:d=1:r=30000/1001', '-c:v', 'mpeg4'];
  execFileSync(ffmpeg, ['-loglevel', 'error', '-y', ...source, video]);
});
after(() => rmSync(folder, { recursive: true }));

describe('a video is described', { skip: ffmpeg === null && 'no ffmpeg' }, () => {
  it('by the JSON of an ffprobe beside ffmpeg', { skip: ffprobe === null && 'no ffprobe' }, async () => {
    symlinkSync(ffmpeg!, at('ffmpeg'));
    symlinkSync(ffprobe!, at('ffprobe'));
    assert.equal(await findFfprobe(at('ffmpeg')), at('ffprobe'));
    const { fps, seconds } = await probeVideo(at('ffmpeg'), video);
    assert.equal(fps, 30000 / 1001);
    assert.ok(Math.abs(seconds! - 1.001) < 1e-6, String(seconds)); // 30 frames; the text has 1.00
  });

  it('by the text of ffmpeg where there is no ffprobe', async () => {
    assert.deepEqual(await probeVideo(ffmpeg!, video, null), { fps: 30000 / 1001, seconds: 1 });
  });

  it('by the text of ffmpeg where ffprobe does not work', async () => {
    writeFileSync(at('broken'), '#!/bin/sh\necho "[}"\n', { mode: 0o755 });
    writeFileSync(at('ends'), '#!/bin/sh\nexit 3\n', { mode: 0o755 });
    writeFileSync(at('other'), `#!/bin/sh\necho '{"streams": [{"avg_frame_rate": 5}]}'\n`, { mode: 0o755 });
    for (const name of ['broken', 'ends', 'other', 'none'])
      assert.equal((await probeVideo(ffmpeg!, video, at(name))).seconds, 1, name);
  });

  it('and refused with the same reason by both when it has no picture or is damaged', async () => {
    const sound = at('sound.mp4');
    const tone = ['-f', 'lavfi', '-i', 'sine=d=0.2', '-c:a', 'aac', '-strict', '-2'];
    execFileSync(ffmpeg!, ['-loglevel', 'error', '-y', ...tone, sound]);
    writeFileSync(at('cut.mp4'), Buffer.from('\0\0\0\x20ftypisom\0\0\0\0', 'latin1'));
    for (const program of [ffprobe, null]) {
      await assert.rejects(
        probeVideo(ffmpeg!, sound, program),
        (error) => error instanceof DataError && /it has no picture/.test(error.message),
      );
      await assert.rejects(
        probeVideo(ffmpeg!, at('cut.mp4'), program),
        (error) => error instanceof DataError && error.message.includes(at('cut.mp4')),
      );
    }
  });
});
