import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import sharp from 'sharp';
import type { DemoFigures, DemoReport, Picture } from './figures.js';
import { escapeHtml, renderReport } from './report.js';
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
    before: 40,
    after: 60,
    rawPixels: 43,
    rawPixelsCentred: 55,
  },
  jaccard: { threshold: 0.6, before: score(25), after: score(51) },
};

async function picture(alt: string, red: number): Promise<Picture> {
  const image = sharp({
    create: { width: 8, height: 8, channels: 3, background: { r: red, g: 90, b: 120 } },
  });
  return { png: await image.png().toBuffer(), alt };
}

async function sample(): Promise<DemoReport> {
  const one = await picture('a "dog" & <scene>', 200);
  const other = await picture('a fish', 20);
  const found = [
    { picture: one, same: true },
    { picture: other, same: false },
  ];
  const looks = { heads: [one, other], mask: other, jaccard: 40 };
  return {
    figures,
    examples: [one, other],
    neighbours: [{ query: one, queryClass: 'dog', before: found, after: found }],
    attention: [{ image: one, truth: other, before: looks, after: { ...looks, jaccard: 61 } }],
  };
}

describe('renderReport', () => {
  it('is one file that loads nothing else', async () => {
    const html = renderReport(await sample());
    assert.doesNotMatch(html, /<(?:link|iframe|object|embed)\b|<script[^>]+src=|@import|url\(/);
    const sources = [...html.matchAll(/<img[^>]* src="([^"]*)"/g)].map((match) => match[1]!);
    assert.equal(sources.length, 2 + 5 + 8);
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

  it('contains the curves for the charts, and tables for readers without JavaScript', async () => {
    const html = renderReport(await sample());
    const json = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(html)![1]!;
    const data = JSON.parse(json) as { steps: number[]; charts: { id: string; values: number[] }[] };
    assert.deepEqual(data.steps, [10, 20, 30]);
    assert.deepEqual(
      data.charts.map(({ id, values }) => [id, values]),
      [
        ['loss', figures.curves.loss],
        ['entropy', figures.curves.entropy],
        ['kl', figures.curves.kl],
      ],
    );
    assert.match(html, /<td>20<\/td><td>6\.500<\/td>/);
    assert.match(html, /0\.4 to 1/);
  });
});

describe('summarize', () => {
  const knn = (before: number, after: number, rawPixels: number): DemoFigures => ({
    ...figures,
    knn: { ...figures.knn, before, after, rawPixels, rawPixelsCentred: 0 },
  });

  it('says what improved, with figures', () => {
    const { headline, improved, notImproved } = summarize(figures);
    assert.match(
      headline,
      /4,000 unlabelled images and 6 minutes 5 seconds .* 60\.0% of the time, up from 40\.0%/,
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
    assert.match(summarize(knn(40, 30, 20)).headline, /did not bring images of the same object closer/);
    const raw = summarize(knn(40, 60, 70)).notImproved;
    assert.match(raw[0]!, /70\.0%, 10\.0 points more than the trained features/);
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
