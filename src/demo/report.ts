/**
 * The demo's report: one HTML file that needs no network and no other file. Charts are drawn by uPlot (MIT), whose code is
 * included in the page; pictures are PNGs in data URLs. The page follows the reader's light or dark setting, every picture
 * and chart has a description for those who can't see it, and without JavaScript tables replace the charts.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { AttentionRow, DemoFigures, DemoReport, NeighbourRow, Picture } from './figures.js';
import { CHART_SCRIPT, STYLE } from './report-page.js';
import { minutes, summarize } from './summary.js';

export function escapeHtml(text: string): string {
  const entities: Record<string, string> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (character) => entities[character]!);
}

const image = (picture: Picture, className = ''): string =>
  `<img${className && ` class="${className}"`} alt="${escapeHtml(picture.alt)}" ` +
  `src="data:image/png;base64,${Buffer.from(picture.png).toString('base64')}">`;

const list = (items: readonly string[]): string =>
  `<ul>${items.map((item) => `<li>${escapeHtml(item)}</li>`).join('')}</ul>`;

interface Chart {
  id: string;
  /** Name in the legend. */
  label: string;
  title: string;
  caption: string;
  values: readonly number[];
  /** A line to compare with. */
  limit?: { label: string; value: number };
}

function charts({ curves }: DemoFigures): Chart[] {
  const lnK = Math.log(curves.outDim);
  const limit = { label: `ln K = ${lnK.toFixed(2)}`, value: lnK };
  return [
    {
      id: 'loss',
      label: 'loss',
      title: 'Loss (nats)',
      caption:
        'Cross-entropy between the teacher on one view and the student on another. A loss that stays at ln K means that ' +
        'nothing is learned.',
      values: curves.loss,
      limit,
    },
    {
      id: 'entropy',
      label: 'entropy',
      title: "Entropy of the teacher's outputs (nats)",
      caption:
        'At ln K all outputs are equal (uniform); at 0 only one is left. A healthy value is in between.',
      values: curves.entropy,
      limit,
    },
    {
      id: 'kl',
      label: 'KL',
      title: 'KL from the batch mean (nats)',
      caption: 'How well the outputs tell images apart. 0 would be a collapse of either kind.',
      values: curves.kl,
    },
  ];
}

function chartFigure(chart: Chart, steps: readonly number[]): string {
  const { values } = chart;
  const first = values[0] ?? NaN;
  const last = values.at(-1) ?? NaN;
  const words =
    `${chart.title}: ${first.toFixed(2)} at step ${steps[0] ?? 0}, ${last.toFixed(2)} at step ${steps.at(-1) ?? 0}, ` +
    `lowest ${Math.min(...values).toFixed(2)}, highest ${Math.max(...values).toFixed(2)}` +
    (chart.limit ? `; ${chart.limit.label}` : '');
  const count = Math.min(8, steps.length);
  const rows = Array.from({ length: count }, (_, i) => {
    const at = count === 1 ? 0 : Math.round((i * (steps.length - 1)) / (count - 1));
    return `<tr><td>${steps[at]}</td><td>${values[at]?.toFixed(3)}</td></tr>`;
  });
  return `<figure class="chart">
<figcaption><strong>${escapeHtml(chart.title)}</strong> ${escapeHtml(chart.caption)}</figcaption>
<div class="plot" id="plot-${chart.id}" role="img" aria-label="${escapeHtml(words)}"></div>
<details><summary>As a table</summary><table><thead><tr><th scope="col">Step</th><th scope="col">${escapeHtml(chart.title)}</th></tr></thead>
<tbody>${rows.join('')}</tbody></table></details>
</figure>`;
}

function scoreBar(label: string, value: number, kind: string): string {
  return (
    `<div class="score"><span class="label">${escapeHtml(label)}</span>` +
    `<span class="track"><span class="fill ${kind}" style="width:${Math.max(0, Math.min(100, value)).toFixed(1)}%"></span></span>` +
    `<span class="value">${value.toFixed(1)}</span></div>`
  );
}

function neighbourRow(row: NeighbourRow): string {
  const strip = (when: string, found: NeighbourRow['before']): string => {
    const same = found.filter((one) => one.same).length;
    return (
      `<td><div class="strip">${found.map((one) => image(one.picture, one.same ? 'same' : 'other')).join('')}</div>` +
      `<span class="count">${same} of ${found.length} of its kind ${when}</span></td>`
    );
  };
  return (
    `<tr><th scope="row">${image(row.query)}<span>${escapeHtml(row.queryClass)}</span></th>` +
    `${strip('before', row.before)}${strip('after', row.after)}</tr>`
  );
}

function attentionRow(row: AttentionRow): string {
  const side = (one: AttentionRow['before']): string =>
    `<td><div class="strip">${one.heads.map((head) => image(head)).join('')}${image(one.mask, 'mask')}</div>` +
    `<span class="count">Jaccard ${one.jaccard.toFixed(0)}</span></td>`;
  return `<tr><td>${image(row.image)}</td><td>${image(row.truth)}</td>${side(row.before)}${side(row.after)}</tr>`;
}

function settingsTable(figures: DemoFigures): string {
  const show = (value: unknown): string =>
    Array.isArray(value) ? value.join(' to ') : typeof value === 'string' ? value : JSON.stringify(value);
  const rows = Object.entries(figures.settings).map(
    ([name, value]) =>
      `<tr><th scope="row"><code>${escapeHtml(name)}</code></th><td>${escapeHtml(show(value))}</td></tr>`,
  );
  return `<details><summary>All settings of this training</summary><table class="settings"><tbody>${rows.join('')}</tbody></table></details>`;
}

/** The page. @throws when uPlot isn't installed. */
export function renderReport(report: DemoReport): string {
  const { figures } = report;
  const { knn, jaccard, curves, seconds, machine } = figures;
  const summary = summarize(figures);
  const uplot = dirname(createRequire(import.meta.url).resolve('uplot/package.json'));
  const read = (name: string): string => readFileSync(join(uplot, 'dist', name), 'utf8');
  const drawn = charts(figures);
  const data = JSON.stringify({
    steps: curves.step,
    charts: drawn.map(({ id, label, values, limit }) => ({ id, label, values, limit: limit ?? null })),
  }).replaceAll('<', '\\u003c');
  const scenes = knn.trainImages.toLocaleString('en-US');

  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>DINO demo: what a vision transformer learned from ${scenes} unlabelled images</title>
<style>${read('uPlot.min.css')}
${STYLE}</style>
</head>
<body>
<header>
<h1>What a vision transformer learned from ${scenes} unlabelled images</h1>
<p class="lead">${escapeHtml(summary.headline)}</p>
</header>
<main>
<section aria-labelledby="in-short">
<h2 id="in-short">In short</h2>
<div class="verdict">
<div><h3>What improved</h3>${summary.improved.length > 0 ? list(summary.improved) : '<p>Nothing.</p>'}</div>
<div><h3>What did not</h3>${summary.notImproved.length > 0 ? list(summary.notImproved) : '<p>Everything that was measured improved.</p>'}</div>
</div>
<div class="scores">
<div role="group" aria-label="k-NN accuracy in percent"><h3>k-NN accuracy, %</h3>
${scoreBar('untrained', knn.before, 'before')}${scoreBar('trained', knn.after, 'after')}${scoreBar('raw pixels', knn.rawPixels, 'raw')}${scoreBar('raw, centred', knn.rawPixelsCentred, 'raw')}${scoreBar('guessing', 100 / knn.classes, 'raw')}
<p class="note">k = ${knn.k}, temperature 0.07, ${knn.valImages.toLocaleString('en-US')} scenes looked up among ${scenes}; the same feature (the teacher's class token) before and after. Raw pixels: the same vote on the pixels themselves; centred: after subtracting the mean image.</p></div>
<div role="group" aria-label="Jaccard similarity of attention masks with the objects, of 100"><h3>Attention on the object, Jaccard of 100</h3>
${scoreBar('untrained', jaccard.before.bestPerImage, 'before')}${scoreBar('trained', jaccard.after.bestPerImage, 'after')}
<p class="note">The paper's measure: each head's attention of the class token is reduced to the patches that hold ${Math.round(100 * jaccard.threshold)}% of it, and for each image the head that fits best counts. With one head for all images: ${jaccard.before.bestHead.toFixed(1)} before, ${jaccard.after.bestHead.toFixed(1)} after. ${jaccard.after.images.toLocaleString('en-US')} scenes.</p></div>
</div>
</section>

<section aria-labelledby="images">
<h2 id="images">The images</h2>
<p>Each scene shows one of ${knn.classes} objects at 45 to 85% of its side, anywhere, rotated by up to 25 degrees, mirrored or not and in any hue, on light grey noise. Training sees neither the kind of object nor the mask; both are used only for the measurements.</p>
<div class="strip examples">${report.examples.map((example) => image(example)).join('')}</div>
</section>

<section aria-labelledby="curves">
<h2 id="curves">The training</h2>
<p>${figures.steps.toLocaleString('en-US')} steps in ${escapeHtml(minutes(seconds.train))} on ${machine.device === 'cpu' ? `${machine.cores} processor core${machine.cores === 1 ? '' : 's'}` : escapeHtml(machine.device)} (${escapeHtml(machine.precision)}), ${figures.parameters.toLocaleString('en-US')} trained parameters.</p>
<div class="charts">${drawn.map((chart) => chartFigure(chart, curves.step)).join('\n')}</div>
</section>

<section aria-labelledby="neighbours">
<h2 id="neighbours">Nearest neighbours</h2>
<p>For scenes that training never saw: the nearest training scenes by cosine similarity of the class token. A solid frame marks the same object, a faded picture a different one. Queries were drawn at random, not picked.</p>
<div class="scroll"><table class="pictures"><thead><tr><th scope="col">Query</th><th scope="col">Before training</th><th scope="col">After training</th></tr></thead>
<tbody>${report.neighbours.map(neighbourRow).join('\n')}</tbody></table></div>
</section>

<section aria-labelledby="attention">
<h2 id="attention">Where it looks</h2>
<p>Attention of the class token in the last block, one picture per head, then the mask of the head that fits best over the object's outline (bright: both; orange: only the mask; blue: only the object). Scenes were drawn at random, not picked.</p>
<div class="scroll"><table class="pictures"><thead><tr><th scope="col">Scene</th><th scope="col">Object</th><th scope="col">Before training</th><th scope="col">After training</th></tr></thead>
<tbody>${report.attention.map(attentionRow).join('\n')}</tbody></table></div>
</section>

<section aria-labelledby="made">
<h2 id="made">How this was made</h2>
<p>dino-ts ${escapeHtml(figures.version)}, <code>dino demo --seed ${figures.seed}</code>: ${escapeHtml(minutes(seconds.total))} in all, of which ${escapeHtml(minutes(seconds.scenes))} for the images, ${escapeHtml(minutes(seconds.train))} for the training and ${escapeHtml(minutes(seconds.before + seconds.after))} for measuring before and after. The method is DINO (Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers").</p>
${settingsTable(figures)}
<p class="note">The objects are Microsoft's Fluent Emoji (MIT licence), from the npm package @lobehub/fluent-emoji-3d. Charts by uPlot (MIT licence).</p>
</section>
</main>
<script type="application/json" id="data">${data}</script>
<script>${read('uPlot.iife.min.js').replaceAll('</script', '<\\/script')}</script>
<script>${CHART_SCRIPT}</script>
</body>
</html>
`;
}
