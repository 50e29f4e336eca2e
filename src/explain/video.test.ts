import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { decodeImage } from '../data/index.js';
import { ConfigError, DataError, EngineError } from '../errors.js';
import type { VisionTransformer } from '../models/index.js';
import { liveTensors } from '../torch/index.js';
import { hashModel, type NetworkSize } from '../testing/hash-model.js';
import type { Model } from '../model.js';
import { inferno } from '../plain/colors.js';
import { findFfmpeg, readVideo, toEvenSize, VideoWriter, type VideoFrame } from './ffmpeg.js';
import { listFrames } from './list-frames.js';
import { frameAttention, writeAttentionVideo } from './video.js';
import { probeVideo } from './probe-video.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

const fixtures = fileURLToPath(new URL('../../test/fixtures/video/', import.meta.url));
const frames = path.join(fixtures, 'davis/JPEGImages/480p/two'); // 150 x 101
const { small, attentionVideo } = JSON.parse(readFileSync(path.join(fixtures, 'video.json'), 'utf8')) as {
  small: NetworkSize;
  attentionVideo: { resize: number; frames: { shape: [number, number]; mean: number[] }[] };
};

const ffmpeg = await findFfmpeg().catch(() => null);
const needsFfmpeg = { skip: ffmpeg === null && 'no ffmpeg' };
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-attention-video-'));
let model: Model;
before(() => {
  model = hashModel(small);
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

async function read(file: string, onWarning?: (message: string) => void): Promise<VideoFrame[]> {
  const all: VideoFrame[] = [];
  for await (const frame of readVideo(ffmpeg!, file, onWarning === undefined ? {} : { onWarning }))
    all.push(frame);
  return all;
}

/** A video of plain frames, each a little brighter, as a file of any kind. */
function makeVideo(name: string, count: number, size: string, ...options: string[]): string {
  const file = path.join(folder, name);
  const [width, height] = size.split('x').map(Number) as [number, number];
  const raw = Buffer.concat(
    Array.from({ length: count }, (_, i) => Buffer.alloc(width * height * 3, 20 + 10 * i)),
  );
  execFileSync(
    ffmpeg!,
    [
      '-loglevel',
      'error',
      '-y',
      '-f',
      'rawvideo',
      '-pix_fmt',
      'rgb24',
      '-s',
      size,
      '-r',
      '12',
      '-i',
      '-',
      ...options,
      file,
    ],
    { input: raw },
  );
  return file;
}

describe('frameAttention', () => {
  it("is the reference's mean map", async () => {
    for (const [i, file] of ['00000.jpg', '00003.jpg'].entries()) {
      const frame = await decodeImage(path.join(frames, file));
      const { rows, columns, map } = frameAttention(model, model.backbone as VisionTransformer, frame, {
        imageSize: attentionVideo.resize,
      });
      const expected = attentionVideo.frames[i]!;
      assert.deepEqual([rows, columns], expected.shape);
      map.forEach((value, k) => assert.ok(Math.abs(value - expected.mean[k]!) < 1e-6, `${file} patch ${k}`));
    }
  });

  it('keeps the share of the attention that is asked for, and one head', async () => {
    const frame = await decodeImage(path.join(frames, '00000.jpg'));
    const backbone = model.backbone as VisionTransformer;
    const half = frameAttention(model, backbone, frame, { threshold: 0.5, head: 1 });
    const kept = half.map.filter((_, i) => half.mask![i] === 1).reduce((a, b) => a + b, 0);
    const all = half.map.reduce((a, b) => a + b, 0);
    assert.ok(kept / all > 0.5 && kept / all < 0.55, String(kept / all));
    assert.notDeepEqual(half.map, frameAttention(model, backbone, frame, {}).map);
  });
});

describe('writeAttentionVideo', () => {
  it('draws a folder of frames as a video', needsFfmpeg, async () => {
    const output = path.join(folder, 'maps.mp4');
    const seen: number[] = [];
    const live = liveTensors();
    const result = await writeAttentionVideo(model, frames, {
      ...{ output, fps: 10, onProgress: ({ done, total }) => seen.push(done, total!) },
    });
    noTensorLeft(live);
    assert.deepEqual(seen, [1, 6, 2, 6, 3, 6, 4, 6, 5, 6, 6, 6]);
    // 150 x 101 is 18 x 12 whole patches of 8
    const { rows, columns, width, height, fps } = result;
    assert.deepEqual(
      { rows, columns, width, height, fps },
      { rows: 12, columns: 18, width: 144, height: 96, fps: 10 },
    );
    assert.deepEqual(await probeVideo(ffmpeg!, output), { fps: 10, isVariable: false, seconds: 0.6 });
    const [first, ...more] = await read(output);
    assert.equal(more.length, 5);
    // the patch that is looked at most has inferno's lightest colour, within what the encoder loses
    const frame = await decodeImage(path.join(frames, '00000.jpg'));
    const { map } = frameAttention(model, model.backbone as VisionTransformer, frame, {});
    const best = map.indexOf(Math.max(...map));
    const at = ((Math.floor(best / 18) * 8 + 4) * 144 + (best % 18) * 8 + 4) * 3;
    const got = [...first!.data.subarray(at, at + 3)];
    inferno(1).forEach((value, c) =>
      assert.ok(Math.abs(value - got[c]!) < 24, `${got.join()} at patch ${best}`),
    );
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.includes('.part')),
      [],
    );
  });

  it('takes a video, at its own rate, and writes webm', needsFfmpeg, async () => {
    const input = makeVideo('in.mkv', 4, '51x37', '-c:v', 'ffv1');
    for (const show of ['overlay', 'mask', 'beside'] as const) {
      const output = path.join(folder, `${show}.webm`);
      const result = await writeAttentionVideo(model, input, { output, show, threshold: 0.6 });
      assert.deepEqual([result.frames, result.fps], [4, 12]);
      const pictures = await read(output);
      assert.equal(pictures.length, 4);
      assert.deepEqual([pictures[0]!.width, pictures[0]!.height], [show === 'beside' ? 96 : 48, 32]);
    }
    // outside of a mask the frame is dark, inside as it was
    const [, , , last] = await read(path.join(folder, 'mask.webm'));
    const gray = new Set(last!.data.filter((_, i) => i % 3 === 1).map((value) => Math.round(value / 8)));
    assert.ok(gray.has(Math.round(50 / 8)) && gray.has(Math.round(12 / 8)), [...gray].join());
  });

  it('keeps the speed of a video whose rate varies', needsFfmpeg, async () => {
    // a GIF of eight frames in two seconds, the first five of them in half a second: ffmpeg would make it 10 a second
    const input = path.join(folder, 'varies.gif');
    const raw = Buffer.concat(Array.from({ length: 8 }, (_, i) => Buffer.alloc(48 * 32 * 3, 20 + 25 * i)));
    await sharp(raw, { raw: { width: 48, height: 8 * 32, channels: 3, pageHeight: 32 } })
      .gif({ delay: [100, 100, 100, 100, 100, 500, 500, 500] })
      .toFile(input);
    const output = path.join(folder, 'varies.mp4');
    const warnings: string[] = [];
    const onWarning = (text: string) => warnings.push(text);
    const { frames, fps } = await writeAttentionVideo(model, input, { output, show: 'beside', onWarning });
    assert.ok(Math.abs(frames / fps - 2) < 0.6, `${frames} frames, ${fps} a second`);
    assert.equal(warnings.length, 1);
    assert.match(
      warnings[0]!,
      /varies\.gif: its frames seem to come at a varying rate, so it is drawn at their mean, [\d.]+ a second: faster ones are left out/,
    );
    // each is shown when it was, within a frame and a bit: before, two seconds were five
    const shown = await read(output);
    const gray = (seconds: number): number => {
      const { data, width } = shown[Math.min(shown.length - 1, Math.floor(seconds * fps))]!;
      return data[(16 * width + 24) * 3 + 1]!;
    };
    assert.ok(gray(0) < 45, String(gray(0)));
    assert.ok(gray(1.1) > 110 && gray(1.1) < 180, String(gray(1.1)));
    assert.ok(gray(1.9) > 160, String(gray(1.9)));
  });

  it('takes one frame, a pattern, and pictures by name', needsFfmpeg, async () => {
    const output = path.join(folder, 'few.mp4');
    const one = await writeAttentionVideo(model, path.join(frames, '00002.jpg'), { output, imageSize: 40 });
    assert.equal(one.frames, 1);
    assert.equal((await read(output)).length, 1);
    const some = await writeAttentionVideo(model, path.join(frames, '0000[0].jpg').replace('[0]', '?'), {
      ...{ output, imageSize: [24, 32] },
    });
    assert.deepEqual([some.frames, some.rows, some.columns], [6, 3, 4]);
    assert.equal(
      (await listFrames([path.join(frames, '00001.jpg'), path.join(frames, '00000.jpg')]))!.length,
      2,
    );
  });

  it(
    'uses what can be decoded of a video that ends in the middle of a frame, and says so',
    needsFfmpeg,
    async () => {
      const whole = makeVideo('whole.avi', 5, '64x48', '-c:v', 'mjpeg', '-q:v', '2');
      const cut = path.join(folder, 'cut.nut');
      makeVideo('cut.nut', 5, '64x48', '-c:v', 'rawvideo', '-pix_fmt', 'rgb24');
      truncateSync(cut, Math.round(statSync(cut).size * 0.7));
      const warnings: string[] = [];
      const output = path.join(folder, 'cut.mp4');
      const result = await writeAttentionVideo(model, cut, {
        output,
        onWarning: (text) => warnings.push(text),
      });
      assert.ok(result.frames === 3 || result.frames === 4, String(result.frames));
      assert.equal(warnings.length, 1);
      assert.match(warnings[0]!, /cut\.nut is damaged or ends early, \d frames could be decoded \(ffmpeg: /);
      assert.equal((await read(whole)).length, 5);
    },
  );

  it('refuses what is no video, and leaves nothing', needsFfmpeg, async () => {
    const output = path.join(folder, 'none.mp4');
    const text = path.join(folder, 'text.mp4');
    writeFileSync(text, 'hello, this is no video at all');
    await assert.rejects(
      writeAttentionVideo(model, text, { output }),
      /Can't read the video .*text\.mp4: it is not a video of a supported kind; expected MP4/,
    );
    const absent = path.join(folder, 'absent.mp4');
    await assert.rejects(writeAttentionVideo(model, absent, { output }), /absent\.mp4 does not exist/);
    const sound = path.join(folder, 'sound.wav');
    execFileSync(ffmpeg!, ['-loglevel', 'error', '-f', 's16le', '-i', '-', sound], {
      input: Buffer.alloc(9000),
    });
    await assert.rejects(writeAttentionVideo(model, sound, { output }), /it has no picture/);
    const mixed = path.join(folder, 'mixed');
    mkdirSync(mixed);
    writeFileSync(path.join(mixed, '0.jpg'), 'no picture: counted by no message about frames');
    cpSync(path.join(frames, '00000.jpg'), path.join(mixed, 'a.jpg'));
    cpSync(path.join(frames, '../tall/00000.jpg'), path.join(mixed, 'b.jpg'));
    await assert.rejects(
      writeAttentionVideo(model, mixed, { output }),
      /mixed.b\.jpg has 96 x 130 pixels, .*mixed.a\.jpg 150 x 101; .*: remove the picture that differs, or bring all/,
    );
    const bytes = ['a.jpg', 'b.jpg'].map((name) => readFileSync(path.join(mixed, name)));
    await assert.rejects(
      writeAttentionVideo(model, bytes, { output }),
      /bytes\[1\] has 96 x 130 pixels, bytes\[0\] 150 x 101/,
    );
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.startsWith('none.mp4')),
      [],
    );
    const unwritable = path.join(folder, 'no', 'such', 'folder.mp4');
    await assert.rejects(
      writeAttentionVideo(model, frames, { output: unwritable }),
      /can't be written: .*No such file/i,
    );
  });

  it('leaves alone a file that is named like an unfinished output', needsFfmpeg, async () => {
    const output = path.join(folder, 'theirs.mp4');
    writeFileSync(`${output}.part`, 'of a download');
    const first = path.join(frames, '00000.jpg');
    const other = path.join(frames, '../tall/00000.jpg');
    await assert.rejects(writeAttentionVideo(model, [first, other], { output }), DataError);
    await writeAttentionVideo(model, [first], { output });
    assert.equal(readFileSync(`${output}.part`, 'utf8'), 'of a download');
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.startsWith('theirs.mp4')),
      ['theirs.mp4', 'theirs.mp4.part'],
    );
  });

  it('leaves out unreadable pictures and says so', needsFfmpeg, async () => {
    const mixed = path.join(folder, 'damaged');
    mkdirSync(mixed);
    cpSync(path.join(frames, '00000.jpg'), path.join(mixed, '1.jpg'));
    writeFileSync(path.join(mixed, '0.jpg'), 'no picture');
    writeFileSync(path.join(mixed, 'notes.txt'), 'not looked at');
    const warnings: string[] = [];
    const output = path.join(folder, 'damaged.mp4');
    const result = await writeAttentionVideo(model, mixed, {
      output,
      onWarning: (text) => warnings.push(text),
    });
    assert.deepEqual([result.frames, result.skipped.length, warnings.length], [1, 1, 2]);
    assert.equal(warnings[0], `${mixed}: 1 other file was left out (1 .txt)`);
    assert.match(warnings[1]!, /^left out: .*0\.jpg/);
    rmSync(path.join(mixed, '1.jpg'));
    await assert.rejects(
      writeAttentionVideo(model, mixed, { output }),
      /none of the 1 frames can be read; the first: .*: /,
    );
  });

  it('stops when asked, without a file', needsFfmpeg, async () => {
    const controller = new AbortController();
    const output = path.join(folder, 'stopped.mp4');
    const onProgress = () => controller.abort(new Error('enough'));
    const options = { output, signal: controller.signal, onProgress };
    await assert.rejects(writeAttentionVideo(model, frames, options), /enough/);
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.startsWith('stopped.mp4')),
      [],
    );
  });

  it('refuses an output that is a folder before anything is read or computed', async () => {
    const output = path.join(folder, 'folder.mp4');
    mkdirSync(output);
    let done = 0;
    const options = { output, ffmpeg: path.join(folder, 'no-ffmpeg'), onProgress: () => done++ };
    await assert.rejects(
      writeAttentionVideo(model, path.join(folder, 'absent.mp4'), options),
      /folder\.mp4 can't be written: it is a folder; give the name of a file/,
    );
    assert.equal(done, 0);
  });

  it('refuses folders without frames and every wrong option at once', async () => {
    const empty = path.join(folder, 'empty');
    mkdirSync(empty);
    const output = path.join(folder, 'x.mp4');
    await assert.rejects(writeAttentionVideo(model, empty, { output }), /there are no frames in .*empty/);
    await assert.rejects(writeAttentionVideo(model, path.join(empty, '*.jpg'), { output }), DataError);
    await assert.rejects(writeAttentionVideo(model, [], { output }), DataError);
    await assert.rejects(
      writeAttentionVideo(model, ['a.jpg', 'b.mp4'], { output }),
      /b\.mp4: expected pictures/,
    );
    const wrong = { output: 'a.gif', threshold: 2, fps: -1, imageSize: 3, head: 7 };
    await assert.rejects(writeAttentionVideo(model, frames, wrong), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.problems.length, 5, error.message);
      return true;
    });
  });
});

describe('ffmpeg', () => {
  it('is looked for, and its absence says what to do', async () => {
    await assert.rejects(findFfmpeg({ FFMPEG: '/no/such/program' }), ConfigError);
    const stub = path.join(folder, process.platform === 'win32' ? 'ffmpeg.exe' : 'ffmpeg');
    writeFileSync(stub, '', { mode: 0o755 });
    assert.equal(await findFfmpeg({ PATH: ['/nowhere', folder].join(path.delimiter) }), stub);
    assert.equal(await findFfmpeg({ PATH: folder, FFMPEG: process.execPath }), process.execPath);
    rmSync(stub);
    try {
      // there may be one in a package
      assert.match(await findFfmpeg({}), /ffmpeg/);
    } catch (error) {
      assert.ok(error instanceof EngineError);
      assert.match(error.message, /apt install ffmpeg/);
    }
  });

  it('gets even sizes by repeating the edge', () => {
    const data = Uint8Array.from({ length: 3 * 3 * 3 }, (_, i) => Math.floor(i / 3)); // 0 1 2 / 3 4 5 / 6 7 8
    const even = toEvenSize({ data, width: 3, height: 3 });
    assert.deepEqual([even.width, even.height], [4, 4]);
    const gray = even.data.filter((_, i) => i % 3 === 0);
    assert.deepEqual([...gray], [0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 6, 7, 8, 8]);
  });

  it(
    'keeps odd frames whole on the way in, and refuses frames of another size on the way out',
    needsFfmpeg,
    async () => {
      const odd = makeVideo('odd.mkv', 2, '33x21', '-c:v', 'ffv1');
      assert.deepEqual((await read(odd)).map(({ width, height }) => [width, height]), [[33, 21], [33, 21]]); // prettier-ignore
      await using writer = await VideoWriter.open(ffmpeg!, path.join(folder, 'b.mp4'), {
        width: 34,
        height: 22,
        fps: 5,
      });
      await assert.rejects(writer.write({ data: new Uint8Array(3), width: 1, height: 1 }), /internal:/);
    },
  );

  it('is waited for by many large frames without a warning of Node', needsFfmpeg, async () => {
    const size = { width: 320, height: 320 };
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => void warnings.push(warning);
    process.on('warning', onWarning);
    try {
      await using writer = await VideoWriter.open(ffmpeg!, path.join(folder, 'large.mp4'), {
        ...size,
        fps: 5,
      });
      const data = new Uint8Array(320 * 320 * 3);
      for (let i = 0; i < 15; i++) await writer.write({ data, ...size });
      await writer.close();
    } finally {
      process.off('warning', onWarning);
    }
    assert.deepEqual(warnings, []);
    assert.equal((await read(path.join(folder, 'large.mp4'))).length, 15);
  });
});

describe('listFrames', () => {
  const mixed = path.join(folder, 'several kinds');
  before(() => {
    mkdirSync(path.join(mixed, 'deeper'), { recursive: true });
    for (const name of ['b.jpg', 'a.png', 'c.heic', 'd.heic', 'notes', '.hidden'])
      writeFileSync(path.join(mixed, name), '');
  });

  it('counts what it leaves out, in a line', async () => {
    const pictures = ['a.png', 'b.jpg'].map((name) => path.join(mixed, name));
    for (const input of [mixed, path.join(mixed, '*')]) {
      const lines: string[] = [];
      assert.deepEqual(await listFrames(input, (line) => lines.push(line)), pictures);
      assert.deepEqual(lines, [`${input}: 3 other files were left out (2 .heic, 1 without an extension)`]);
    }
    await listFrames(path.join(mixed, '*.jpg'), (line) => assert.fail(line));
    await assert.rejects(
      listFrames(path.join(mixed, '*.heic')),
      /no picture matches .*; what matches is 2 \.heic$/,
    );
    for (const name of ['b.jpg', 'a.png']) rmSync(path.join(mixed, name));
    await assert.rejects(
      listFrames(mixed),
      /there are no frames in .*, not in subfolders; it has 2 \.heic, 1 without an extension$/,
    );
  });

  it('says why something cannot be opened', async () => {
    const file = path.join(mixed, 'notes');
    await assert.rejects(listFrames(path.join(file, '*.jpg')), (error: Error) => {
      assert.ok(error instanceof DataError);
      assert.equal(error.message, `${file} can't be opened: ENOTDIR: not a directory`);
      return true;
    });
  });

  it(
    'says so of a folder without permission',
    { skip: process.getuid?.() === 0 && 'root may open everything' },
    async () => {
      const closed = path.join(folder, 'closed');
      mkdirSync(closed, 0o000);
      try {
        for (const input of [closed, path.join(closed, 'a.mp4'), path.join(closed, '*.jpg')])
          await assert.rejects(
            listFrames(input),
            (error) => error instanceof DataError && /closed.* can't be opened: EACCES/.test(error.message),
          );
      } finally {
        chmodSync(closed, 0o700);
      }
    },
  );
});
