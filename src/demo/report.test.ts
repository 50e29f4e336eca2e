import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import sharp from 'sharp';
import type { AttentionSide, DemoFigures, DemoReport, Picture } from './figures.js';
import { outlineOf } from './pictures.js';
import { renderReport } from './report.js';
import { escapeHtml } from '../plain/html.js';
import { chancePoints, minutes, summarize } from './summary.js';

const score = (best: number) => ({
  bestPerImage: best,
  bestHead: best - 1,
  heads: [best - 1, best - 8],
  images: 1000,
});
const figures: DemoFigures = {
  version: '1.2.3',
  seed: 7,
  seconds: { scenes: 11, before: 5, train: 365, after: 5, total: 386 },
  machine: { cores: 2, device: 'cpu', precision: 'fp32' },
  settings: { arch: 'vit', globalCropsScale: [0.4, 1], note: '<b>&"' },
  parameters: 1234567,
  steps: 30,
  curves: {
    outDim: 1024,
    step: [10, 20, 30],
    loss: [6.9, 6.5, 6.25],
    entropy: [6.8, 5, 4.5],
    kl: [0.1, 1, 1.5],
  },
  knn: {
    k: 20,
    classes: 20,
    trainImages: 4000,
    valImages: 1000,
    size: 64,
    components: 128,
    pixels: { plain: 20, centred: 30, whitened: 43 },
    hog: { plain: 25, centred: 55, whitened: 54 },
    before: { plain: 40, centred: 38, whitened: 30 },
    after: { plain: 51, centred: 56, whitened: 60 },
  },
  jaccard: { threshold: 0.6, before: score(25), after: score(51) },
};

async function picture(alt: string, red: number): Promise<Picture> {
  const image = sharp({
    create: { width: 8, height: 8, channels: 3, background: { r: red, g: 90, b: 120 } },
  });
  return { bytes: await image.png().toBuffer(), type: 'image/png', alt };
}

async function sample(): Promise<DemoReport> {
  const one = await picture('a "dog" & <scene>', 200);
  const other = await picture('a fish', 20);
  const found = [
    { picture: one, kind: 'dog', isSame: true },
    { picture: other, kind: 'fish', isSame: false },
  ];
  const side: AttentionSide = { head: 2, map: other, jaccard: 40, heads: [one, other] };
  return {
    figures,
    attention: [{ kind: 'dog', scene: one, before: side, after: { ...side, jaccard: 61 } }],
    neighbours: [{ query: one, kind: 'dog', before: found, after: found }],
    map: {
      kinds: ['dog', '<fish>'],
      labels: [0, 1, 1, 1],
      before: Float32Array.of(0, 0, 1, 1, 0.5, 0.5, 0.6, 0.5),
      after: Float32Array.of(0.1, 0.2, 0.9, 0.9, 0.9, 0.8, 0.2, 0.1),
    },
    examples: [one, other],
  };
}

describe('renderReport', () => {
  it('is one file that loads nothing else', async () => {
    const html = renderReport(await sample());
    assert.doesNotMatch(html, /<(?:link|iframe|object|embed|script)\b|@import|url\(/);
    const sources = [...html.matchAll(/<img[^>]* src="([^"]*)"/g)].map((match) => match[1]!);
    assert.equal(sources.length, 3 + (1 + 2 + 2) + (1 + 2 + 2) + 2); // attention, its heads, neighbours, examples
    for (const source of sources) {
      const [head, body] = source.split(',');
      assert.equal(head, 'data:image/png;base64');
      const { width } = await sharp(Buffer.from(body!, 'base64')).metadata();
      assert.equal(width, 8);
    }
    assert.match(html, /default-src 'none'/);
  });

  it('names every picture and chart, and escapes what it is given', async () => {
    const html = renderReport(await sample());
    const images = html.match(/<img\b[^>]*>/g)!;
    for (const tag of images) assert.match(tag, /alt="[^"]+"/);
    assert.ok(images.some((tag) => tag.includes('alt="a &quot;dog&quot; &amp; &lt;scene&gt;"')));
    assert.match(
      html,
      /role="img" aria-label="Loss \(nats\): 6.90 at step 10, 6.25 at step 30, lowest 6.25, highest 6.90; ln K = 6.93"/,
    );
    assert.ok(html.includes('&lt;b&gt;&amp;&quot;'));
    assert.ok(!html.includes('<b>&"'));
    assert.equal(escapeHtml(`<a href='x'>&`), '&lt;a href=&#39;x&#39;&gt;&amp;');
  });

  it('begins with the attention, then neighbours, accuracies, curves, map', async () => {
    const html = renderReport(await sample());
    const titles = [...html.matchAll(/<h2 id="([a-z-]+)"/g)].map((match) => match[1]);
    assert.deepEqual(titles, ['attention', 'neighbours', 'accuracy', 'curves', 'map', 'images', 'made']);
  });

  it('shows every baseline in every reading, and the best of each in bold', async () => {
    const html = renderReport(await sample());
    assert.match(html, /pixels<\/th><td>20\.0<\/td><td>30\.0<\/td><td><b>43\.0<\/b><\/td>/);
    assert.match(html, /HOG<\/th><td>25\.0<\/td><td><b>55\.0<\/b><\/td><td>54\.0<\/td>/);
    assert.match(html, /before training<\/th><td><b>40\.0<\/b>/);
    assert.match(html, /after training<\/th><td>51\.0<\/td><td>56\.0<\/td><td><b>60\.0<\/b>/);
    assert.match(html, /guessing<\/th><td>5\.0<\/td>/);
    assert.match(html, /class token \(as it is before, whitened after training\)/);
  });

  it('marks neighbours by kind, in words too, and draws each scene on both maps', async () => {
    const html = renderReport(await sample());
    assert.equal(html.match(/<figure class="right">/g)!.length, 2);
    assert.equal(html.match(/<figure class="wrong">[^\n]*?<figcaption>fish</g)!.length, 2);
    assert.match(html, /before, 1 of 2/);
    assert.equal(html.match(/<circle/g)!.length, 8);
    assert.equal(html.match(/>&lt;fish&gt;<\/text>/g)!.length, 2);
    // the label is at a dot of its kind, in the larger group
    assert.match(html, /<text class="k1" x="450" y="4(03|50)">/);
  });

  it('draws the curves with their ends, and has them as tables', async () => {
    const html = renderReport(await sample());
    const lines = [...html.matchAll(/<polyline points="([^"]+)"/g)].map((match) => match[1]!.split(' '));
    assert.deepEqual(
      lines.map((points) => points.length),
      [3, 3, 3],
    );
    // the loss falls: y grows downwards
    const heights = lines[0]!.map((point) => Number(point.split(',')[1]));
    assert.ok(heights[0]! < heights[1]! && heights[1]! < heights[2]!, String(heights));
    assert.match(html, /<text class="limit"[^>]*>ln K = 6\.93</);
    assert.match(html, /<text class="end"[^>]*>1\.50</);
    assert.match(html, /<td>20<\/td><td>6\.500<\/td>/);
    assert.match(html, /0\.4 to 1/);
  });
});

describe('summarize', () => {
  const all = (value: number) => ({ plain: value, centred: value - 1, whitened: value - 2 });
  const knn = (before: number, after: number, pixels: number): DemoFigures => ({
    ...figures,
    knn: { ...figures.knn, before: all(before), after: all(after), pixels: all(pixels), hog: all(0) },
  });

  it('says what improved, with figures', () => {
    const { headline, improved, notImproved } = summarize(figures);
    assert.match(
      headline,
      /4,000 unlabelled images and 6 minutes 5 seconds .* right kind for 60\.0% of new scenes, up from 40\.0%/,
    );
    assert.equal(improved.length, 5);
    assert.deepEqual(notImproved, []);
    assert.match(improved.join('\n'), /rose from 40\.0% to 60\.0%.* by 20\.0 points/);
    assert.match(improved.join('\n'), /rose from 25\.0 to 51\.0 of 100/);
  });

  it('does not call luck an improvement, nor hide a loss', () => {
    assert.match(
      summarize(knn(40, 42, 30)).notImproved[0]!,
      /within the 3\.2 points that chance alone could explain/,
    );
    assert.match(summarize(knn(40, 30, 20)).notImproved[0]!, /fell from 40\.0% to 30\.0%\./);
    assert.match(summarize(knn(40, 30, 20)).headline, /did not bring images of the same kind closer/);
    const raw = summarize(knn(40, 60, 70)).notImproved;
    assert.match(
      raw[0]!,
      /pixels.* 70\.0% at best \(as it is\), 10\.0 points more than the trained features/,
    );
    const blind = summarize({ ...figures, jaccard: { ...figures.jaccard, after: score(25.5) } });
    assert.match(blind.notImproved[0]!, /does not attend to the object more than before/);
    const collapsed = summarize({ ...figures, curves: { ...figures.curves, kl: [1, 0.5, 0.01] } });
    assert.match(collapsed.notImproved[0]!, /close to collapse/);
  });

  it('knows what chance can do', () => {
    assert.equal(chancePoints(100), 10);
    assert.equal(chancePoints(2500), 2);
  });

  it('writes durations as people say them', () => {
    assert.deepEqual([0.6, 59.4, 60, 61, 365].map(minutes), [
      '1 second',
      '59 seconds',
      '1 minute',
      '1 minute 1 second',
      '6 minutes 5 seconds',
    ]);
  });
});

describe('outlineOf', () => {
  it('is a closed line where the mask ends, and nothing elsewhere', () => {
    const side = 40;
    // a disc with a soft edge
    const mask = Uint8Array.from({ length: side * side }, (_, i) => {
      const radius = Math.hypot((i % side) - 20, Math.floor(i / side) - 20);
      return Math.round(255 * Math.min(1, Math.max(0, (12 - radius) / 4)));
    });
    const line = outlineOf(mask, side);
    line.forEach((strength, i) => {
      const radius = Math.hypot((i % side) - 20, Math.floor(i / side) - 20);
      if (Math.abs(radius - 10) < 0.5) assert.ok(strength > 100, `${i}: ${strength}`);
      if (Math.abs(radius - 10) > 3) assert.equal(strength, 0);
    });
    assert.ok(outlineOf(new Uint8Array(side * side), side).every((strength) => strength === 0));
  });
});
