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
    assert.deepEqual(await probeVideo(ffmpeg!, video, null), {
      ...{ fps: 30000 / 1001, isVariable: false, seconds: 1 },
    });
  });

  it('by the text of ffmpeg where ffprobe does not work', async () => {
    writeFileSync(at('broken'), '#!/bin/sh\necho "[}"\n', { mode: 0o755 });
    writeFileSync(at('ends'), '#!/bin/sh\nexit 3\n', { mode: 0o755 });
    writeFileSync(at('other'), `#!/bin/sh\necho '{"streams": [{"avg_frame_rate": 5}]}'\n`, { mode: 0o755 });
    for (const name of ['broken', 'ends', 'other', 'none'])
      assert.equal((await probeVideo(ffmpeg!, video, at(name))).seconds, 1, name);
  });

  it('with its mean rate only where the rate varies', async () => {
    const rates: [
      mean: [json: string, text: string],
      base: [string, string],
      fps: number,
      isVariable: boolean,
    ][] = [
      [['17/1', '17 fps'], ['60/1', '60 tbr'], 17, true],
      [['25/1', '25 fps'], ['1000/1', '1k tbr'], 25, true],
      [['25/1', '25 fps'], ['25/1', '25 tbr'], 25, false],
      // a constant rate in a file that rounds its times: as ffmpeg reads it, none repeated or left out
      [['2998/100', '29.98 fps'], ['30000/1001', '29.97 tbr'], 30000 / 1001, false],
      [['2000/1', '2k fps'], ['2000/1', '2k tbr'], 2000, false],
      [['0/0', ''], ['50/1', '50 tbr'], 50, false],
      [['0/0', ''], ['0/0', ''], 25, false],
    ];
    const script = (name: string, text: string) =>
      writeFileSync(at(name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    for (const [mean, base, fps, isVariable] of rates) {
      const stream = { avg_frame_rate: mean[0], r_frame_rate: base[0] };
      script('rates', `echo '${JSON.stringify({ streams: [stream], format: { duration: '3' } })}'`);
      script(
        'prints',
        `echo '  Stream #0:0: Video: h264, 32x32, ${mean[1]}, ${base[1]}, 1k tbn' >&2; exit 1`,
      );
      const byJson = await probeVideo(ffmpeg!, video, at('rates'));
      assert.deepEqual(byJson, { fps, isVariable, seconds: 3 }, mean[0]);
      const byText = await probeVideo(at('prints'), video, null);
      assert.deepEqual(byText, { fps, isVariable, seconds: null }, mean[1]);
    }
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
