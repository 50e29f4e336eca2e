/** The commands that draw and segment, as a user sees them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { readLabelImage, writeLabelImage } from '../../eval/indexed-png.js';
import { findFfmpeg } from '../../explain/ffmpeg.js';
import { writeTinyRun } from '../../testing/saved-run.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const davis = fileURLToPath(new URL('../../../test/fixtures/video/davis', import.meta.url));
const frames = path.join(davis, 'JPEGImages/480p/two');
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-pictures-'));
const run = path.join(folder, 'run');
before(() => void writeTinyRun(run));
after(() => rmSync(folder, { recursive: true }));

function dino(...args: string[]): { status: number | null; json: Record<string, unknown>; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args, '--json'], {
    encoding: 'utf8',
  });
  assert.ok(stdout !== '', stderr);
  return { status, json: JSON.parse(stdout) as Record<string, unknown>, stderr };
}

describe('segmentations and pictures', () => {
  it('propagate masks through videos, and keep the scores with the run', () => {
    const output = path.join(folder, 'masks');
    const { status, json, stderr } = dino(
      ...['eval', 'video-segmentation', run, '--data_path', davis, '--output_dir', output],
      ...['--size', '64', '--n_last_frames', '2', '--sequences', 'two'],
    );
    assert.equal(status, 0, stderr);
    assert.ok(existsSync(path.join(output, 'two', '00005.png')));
    const kept = JSON.parse(
      readFileSync(path.join(run, 'evaluations', 'video-segmentation.json'), 'utf8'),
    ) as {
      scores: unknown;
      nLastFrames: number;
    };
    assert.deepEqual(kept.scores, json['scores']);
    assert.equal(kept.nLastFrames, 2);
  });

  it('compare attention with masks', () => {
    const masks = path.join(davis, 'Annotations/480p/two');
    const flags = ['--images', frames, '--masks', masks, '--resize', '64'];
    const { status, json, stderr } = dino('eval', 'attention-segmentation', run, ...flags);
    assert.equal(status, 0, stderr);
    assert.deepEqual([json['images'], json['objects'], json['threshold']], [6, 12, 0.6]);
    assert.doesNotMatch(stderr, /warning/);
  });

  it('compare attention with masks, and say what does not count', async () => {
    const masks = path.join(folder, 'object-masks');
    cpSync(path.join(davis, 'Annotations/480p/two'), masks, { recursive: true });
    const file = path.join(masks, '00000.png');
    const mask = await readLabelImage(file);
    mask.labels[mask.labels.length - 1] = 3;
    writeLabelImage(file, mask);
    cpSync(file, path.join(masks, 'stray.png'));
    writeFileSync(path.join(masks, 'legend.csv'), 'x');
    const flags = ['--images', frames, '--masks', masks, '--resize', '64', '--foreground'];
    const together = dino('eval', 'attention-segmentation', run, ...flags);
    assert.deepEqual([together.json['objects'], together.json['tooSmall']], [6, 0]);
    const result = path.join(run, 'evaluations', 'attention-segmentation.json');
    assert.equal((JSON.parse(readFileSync(result, 'utf8')) as { foreground: boolean }).foreground, true);
    const { json, stderr } = dino('eval', 'attention-segmentation', run, ...flags.slice(0, -1));
    assert.deepEqual([json['objects'], json['tooSmall']], [12, 1]);
    assert.match(stderr, /warning: 1 of 13 objects do not count: .*--image-size/);
    assert.match(stderr, /warning: 1 mask without an image left out: .*stray\.png/);
    assert.match(stderr, /object-masks: 1 other file was left out \(1 \.csv\)/);
  });

  it('draw components together with attention', () => {
    const output = path.join(folder, 'maps');
    const images = ['00000.jpg', '00001.jpg'].map((name) => path.join(frames, name));
    const { status, stderr } = dino(
      'attention',
      run,
      ...images,
      '--output',
      output,
      '--pca',
      '--image-size',
      '48',
    );
    assert.equal(status, 0, stderr);
    for (const name of ['00000', '00001']) assert.ok(existsSync(path.join(output, name, 'pca.png')));
    assert.match(stderr, /principal components: \d+%, \d+%, \d+% of the variance/);
  });

  it('draw the other images when one can not be, and list it', async () => {
    const odd = { line: path.join(folder, 'line.png'), broken: path.join(folder, 'broken.jpg') };
    const pixels = { width: 3000, height: 7, channels: 3 as const, background: '#804020' };
    await sharp({ create: pixels }).png().toFile(odd.line);
    writeFileSync(odd.broken, '<html>404');
    const [first, last] = ['00000.jpg', '00001.jpg'].map((name) => path.join(frames, name));
    const output = path.join(folder, 'some');
    const images = [first!, odd.line, odd.broken, last!];
    const sized = dino('attention', run, ...images, '--output', output, '--image-size', '64', '--pca');
    assert.equal(sized.status, 0, sized.stderr);
    assert.deepEqual(readdirSync(output).sort(), ['00000', '00001']);
    for (const name of ['00000', '00001']) assert.ok(existsSync(path.join(output, name, 'pca.png')));
    const skipped = sized.json['skipped'] as { path: string; reason: string }[];
    assert.deepEqual(
      skipped.map((one) => one.path),
      [odd.line, odd.broken],
    );
    assert.match(skipped[0]!.reason, /27424 patches, more than the 8192/);
    assert.match(sized.stderr, /skipped .*broken\.jpg/);
    // by itself the size fits
    const strip = path.join(folder, 'strip');
    const own = dino('attention', run, odd.line, '--output', strip, '--max-patches', '100');
    assert.equal(own.status, 0, own.stderr);
    assert.deepEqual((own.json['images'] as { patches: number[] }[])[0]!.patches, [1, 100]);
    assert.match(own.stderr, /line\.png: too long for its proportions .* 100 patches/);
    const { width, height } = await sharp(path.join(strip, 'overlay.png')).metadata();
    assert.deepEqual([width, height], [8000, 80]);
    // none is an error
    const none = dino('attention', run, odd.broken, odd.broken, '--output', path.join(folder, 'none'));
    assert.equal(none.status, 1);
    assert.match(none.stderr, /none of the 2 images could be drawn/);
  });

  it("replace no picture of somebody's, and name those of an earlier call", () => {
    const mine = path.join(folder, 'mine');
    mkdirSync(mine);
    const image = path.join(mine, 'cat.jpg');
    cpSync(path.join(frames, '00000.jpg'), image);
    const draw = (...flags: string[]) => dino('attention', run, ...flags, '--image-size', '32');
    for (const name of ['overlay.png', 'pca.png']) {
      writeFileSync(path.join(mine, name), 'precious');
      const { status, stderr } = draw(image, '-o', mine, '--pca');
      assert.equal(status, 2, stderr);
      assert.ok(stderr.includes(name) && stderr.includes('mine-2'), stderr);
      assert.deepEqual(readdirSync(mine).sort(), ['cat.jpg', name], 'nothing was drawn');
      rmSync(path.join(mine, name));
    }
    writeFileSync(path.join(mine, 'mask_thin_head0.png'), 'of another program');
    const first = draw(image, '-o', mine, '--pca', '--threshold', '0.5');
    assert.equal(first.status, 0, first.stderr);
    assert.doesNotMatch(first.stderr, /earlier call/);
    const again = draw(image, '-o', mine, '--threshold', '0.6');
    assert.equal(again.status, 0, again.stderr);
    const lines = again.stderr.split('\n').filter((line) => /earlier call/.test(line));
    assert.equal(lines.length, 1, again.stderr);
    assert.match(lines[0]!, /mask_th0\.5_head0\.png, .*pca\.png/);
    assert.doesNotMatch(again.stderr, /mask_thin/);
    assert.equal((again.json['earlier'] as string[]).length, 4);
    // the second of several
    const several = path.join(folder, 'several');
    mkdirSync(path.join(several, '00001'), { recursive: true });
    writeFileSync(path.join(several, '00001', 'attn-head2.png'), 'precious');
    const pair = ['00000.jpg', '00001.jpg'].map((name) => path.join(frames, name));
    const refused = draw(...pair, '-o', several);
    assert.equal(refused.status, 2, refused.stderr);
    assert.ok(refused.stderr.includes('attn-head2.png') && refused.stderr.includes('several-2'));
    assert.deepEqual(readdirSync(several), ['00001'], 'nothing was drawn');
  });

  it('stay in the output folder, whatever an image is called', () => {
    const odd = path.join(folder, 'odd');
    mkdirSync(odd);
    const images = ['...jpg', '..jpg', '.jpg', 'a.jpg'].map((name) => path.join(odd, name));
    for (const image of images) cpSync(path.join(frames, '00000.jpg'), image);
    const output = path.join(folder, 'kept', 'maps');
    const { status, json, stderr } = dino('attention', run, ...images, '-o', output, '--image-size', '32');
    assert.equal(status, 0, stderr);
    assert.deepEqual(readdirSync(path.dirname(output)), ['maps']);
    const folders = (json['images'] as { folder: string }[]).map((one) => one.folder);
    assert.equal(new Set(folders).size, 4);
    for (const one of folders) assert.equal(path.dirname(one), output);
  });

  it('draw a video, or say what ffmpeg is missing', async () => {
    const output = path.join(folder, 'attention.webm');
    const flags = ['--output', output, '--resize', '40', '--show', 'overlay', '--threshold', '0.6'];
    const found = await findFfmpeg().catch(() => null);
    const { status, json } = dino('video', run, frames, ...flags);
    assert.equal(status, found === null ? 1 : 0);
    if (found !== null) assert.deepEqual([json['frames'], json['rows'], existsSync(output)], [6, 5, true]);
    if (found !== null) {
      const again = dino('video', run, output, '--output', path.join(folder, 'again.mp4'), '--fps', '12');
      assert.deepEqual([again.json['frames'], again.json['fps']], [6, 12], 'a video as input');
    }
    const wrong = spawnSync(process.execPath, [bin, 'video', run, '--head', '-1', '--fps', 'x'], {
      encoding: 'utf8',
    });
    assert.equal(wrong.status, 2);
    for (const part of [/<frames> is missing/, /--output is missing/, /--head is -1/, /--fps is x/]) {
      assert.match(wrong.stderr, part);
    }
  });
});
