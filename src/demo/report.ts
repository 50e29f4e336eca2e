/**
 * The demo's report: one HTML file that needs no network and no other file. It begins with what the network looks at, and
 * every figure in it comes from the run. It has no scripts: curves and maps are SVG, pictures are data URLs. The page follows the
 * reader's light or dark setting, and every picture and chart has a description for those who can't see it.
 */
import type { DemoReport } from './figures.js';
import { STYLE } from './report-page.js';
import {
  accuracyTable,
  attentionPart,
  chartFigure,
  charts,
  count,
  image,
  list,
  machineWords,
  mapPart,
  neighboursPart,
  settingsTable,
} from './report-parts.js';
import { bestReading } from '../eval/readings.js';
import { escapeHtml, pageHead } from '../plain/html.js';
import { minutes, READING_WORDS, summarize } from './summary.js';

/** The page. */
export function renderReport(report: DemoReport): string {
  const { figures } = report;
  const { knn, jaccard, curves, seconds } = figures;
  const summary = summarize(figures);
  const scenes = count(knn.trainImages);
  const title = `What a network learned from ${scenes} pictures that nobody labelled`;
  const readings = [knn.before, knn.after].map((one) => READING_WORDS[bestReading(one)]);
  const asRead =
    readings[0] === readings[1] ? readings[0]! : `${readings[0]} before, ${readings[1]} after training`;

  return `${pageHead(`DINO demo: ${title.toLowerCase()}`, STYLE)}<header>
<h1>${title}</h1>
<p class="lead">${escapeHtml(summary.headline)}</p>
</header>
<main>
<section aria-labelledby="attention">
<h2 id="attention">Where it looks</h2>
<p>A scene that training never saw, then the attention of the network’s class token before and after training. The thin line is the object’s true outline, which the network was never shown; the number says how well the attention fits it, of 100.</p>
${attentionPart(report.attention)}
<p class="note">Scenes were drawn at random, one from each of ${report.attention.length} kinds, not picked. Each map is the head that fits best over all ${count(jaccard.after.images)} scenes; the number is the Jaccard similarity of the object and the patches that hold ${Math.round(100 * jaccard.threshold)}% of that head’s attention. Over all scenes: ${jaccard.before.bestHead.toFixed(1)} before and ${jaccard.after.bestHead.toFixed(1)} after training; if the best head is chosen for each scene, as in the paper, ${jaccard.before.bestPerImage.toFixed(1)} and ${jaccard.after.bestPerImage.toFixed(1)}.</p>
</section>

<section aria-labelledby="neighbours">
<h2 id="neighbours">What it finds alike</h2>
<p>For a scene that training never saw, the ${report.neighbours[0]?.after.length ?? 0} nearest training scenes, nearest first. A line below marks the right kind.</p>
${neighboursPart(report.neighbours)}
<p class="note">By cosine similarity of the class token (${escapeHtml(asRead)}). Queries were drawn at random, one from each of ${report.neighbours.length} kinds.</p>
</section>

<section aria-labelledby="accuracy">
<h2 id="accuracy">How often the neighbours are right</h2>
<p>The ${knn.k} nearest of ${scenes} training scenes vote on the kind of each of ${count(knn.valImages)} new scenes; per cent that are right. Pixels and HOG, which need no network, show how far comparing pictures directly would go.</p>
<div class="scroll">${accuracyTable(figures)}</div>
<p class="note">k-NN with temperature 0.07 on pictures of ${knn.size} x ${knn.size} pixels. HOG: histograms of oriented gradients, 9 directions in cells of 8 pixels, normalized in blocks of 2 x 2 (L2-Hys). Centred: the mean of the training scenes is subtracted. Whitened: then the ${knn.components} largest principal components are scaled to equal variance.</p>
<div class="verdict">
<div><h3>What improved</h3>${summary.improved.length > 0 ? list(summary.improved) : '<p>Nothing.</p>'}</div>
<div><h3>What did not</h3>${summary.notImproved.length > 0 ? list(summary.notImproved) : '<p>Everything that was measured improved.</p>'}</div>
</div>
</section>

<section aria-labelledby="curves">
<h2 id="curves">The training</h2>
<p>${escapeHtml(machineWords(figures))}</p>
<div class="charts">${charts(figures)
    .map((chart) => chartFigure(chart, curves.step))
    .join('\n')}</div>
</section>

<section aria-labelledby="map">
<h2 id="map">The map</h2>
<p>Each dot is one of ${count(report.map.labels.length)} new scenes, coloured by its kind, which the network was never told; scenes that it finds alike lie close together.</p>
${mapPart(report.map)}
<p class="note">UMAP of the same features as above.</p>
</section>

<section aria-labelledby="images">
<h2 id="images">The pictures</h2>
<p>Each shows one of ${knn.classes} kinds of objects, rotated, mirrored, recoloured and anywhere on grey noise. Training sees neither kind nor outline; both are used only to measure.</p>
<div class="examples">${report.examples.map((example) => image(example)).join('')}</div>
</section>

<section aria-labelledby="made">
<h2 id="made">How this was made</h2>
<p>dino-ts ${escapeHtml(figures.version)}, <code>dino demo --seed ${figures.seed}</code>: ${escapeHtml(minutes(seconds.total))} in all, of which ${escapeHtml(minutes(seconds.scenes))} for the pictures, ${escapeHtml(minutes(seconds.train))} for the training and ${escapeHtml(minutes(seconds.before + seconds.after))} for measuring before and after. The method is DINO (Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers").</p>
${settingsTable(figures)}
<p class="note">The objects are Microsoft’s Fluent Emoji (MIT licence), from the npm package @lobehub/fluent-emoji-3d. Maps by umap-js (MIT).</p>
</section>
</main>
</body>
</html>
`;
}
