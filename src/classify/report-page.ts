/**
 * The report on a classifier as one HTML file that needs no network and no other file, and has no scripts: the confusion
 * matrix and the calibration are SVG, thumbnails are data URLs. It follows the reader's light or dark setting.
 */
import { existsSync } from 'node:fs';
import { imageThumbnail } from '../data/index.js';
import { writeFileWhole } from '../files/atomic-file.js';
import { CheckpointError, ConfigError } from '../errors.js';
import { readStart } from '../files/guarded.js';
import { freeName } from '../files/new-places.js';
import { assertWritable, makeFolderOf } from '../files/output.js';
import { being, checkCall, filePath } from '../plain/check-options.js';
import { escapeHtml, isOwnPage, pageHead } from '../plain/html.js';
import { printable } from '../plain/printable.js';
import { packageVersion } from '../version.js';
import { calibrationSvg, confusionSvg } from './report-pictures.js';
import type { FitClassifierResult } from './fit-classifier.js';
import type { ClassifierReport, Mistake } from './report.js';

/** Mistakes that are shown, and the longer side of their thumbnails in pixels. */
const [SHOWN, SIDE] = [24, 192];
const QUALITY = 80;
/** Skipped images and settings that are listed. */
const LISTED = 50;

const STYLE = `
:root {
  color-scheme: light dark;
  --page: #fffffb; --text: #1c1c1a; --dim: #66665f; --line: #dedcd3; --right: 31 111 92; --wrong: 179 67 47; --strong: #fffffb;
}
@media (prefers-color-scheme: dark) {
  :root { --page: #141513; --text: #e6e5df; --dim: #a09f96; --line: #35362f; --right: 95 198 168; --wrong: 239 138 114; --strong: #141513; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
header, main { max-width: 1080px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; }
h1 { font-size: clamp(1.6rem, 4vw, 2.2rem); font-weight: 500; line-height: 1.2; margin: 0 0 12px; }
h2 { font-size: 1.25rem; font-weight: 500; margin: 0 0 8px; }
.lead { font-size: 1.15rem; margin: 0; max-width: 64ch; }
section { margin: 44px 0; }
p { margin: 0 0 12px; max-width: 72ch; }
.note, figcaption { color: var(--dim); font-size: 0.85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: 4px 18px 4px 0; font-weight: 400; text-align: right; border-bottom: 1px solid var(--line); }
td:first-child, th:first-child { text-align: left; }
thead th { color: var(--dim); font-size: 0.85rem; }
svg { display: block; max-width: 100%; height: auto; font: 13px system-ui, sans-serif; }
svg text { fill: var(--text); }
svg .dim { fill: var(--dim); }
svg .strong { fill: var(--strong); }
svg .right { fill: rgb(var(--right)); }
svg .wrong { fill: rgb(var(--wrong)); }
svg .line { stroke: var(--line); fill: none; }
svg .ideal { stroke: var(--dim); stroke-dasharray: 5 4; }
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 20px 16px; }
figure { margin: 0; min-width: 0; }
.mistakes img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--line); border-radius: 3px; }
figcaption { margin-top: 4px; overflow-wrap: anywhere; }
figcaption b { display: block; color: var(--text); font-weight: 500; }
`;

export const percent = (share: number | null): string =>
  share === null ? '–' : `${(100 * share).toFixed(1)}%`;

/** Text of others: names of files and folders. */
const shown = (text: string): string => escapeHtml(printable(text));

function classTable({ classes }: ClassifierReport): string {
  const rows = classes.map(
    (one) =>
      `<tr><th scope="row">${shown(one.name)}</th><td>${one.trainImages}</td><td>${one.images}</td><td>${one.predicted}</td>` +
      `<td>${percent(one.precision)}</td><td>${percent(one.recall)}</td></tr>`,
  );
  const heads = ['class', 'fitted to', 'tested', 'predicted', 'precision', 'recall'];
  return (
    `<div class="scroll"><table><thead><tr>${heads.map((head) => `<th scope="col">${head}</th>`).join('')}</tr></thead>` +
    `<tbody>${rows.join('\n')}</tbody></table></div>`
  );
}

async function mistakeFigure({ path, label, predicted, probability }: Mistake): Promise<string> {
  const words = `${shown(label)}, predicted ${shown(predicted)}`;
  let picture = '';
  try {
    const { data } = await imageThumbnail(path, SIDE, QUALITY);
    picture = `<img alt="${words}" src="data:image/webp;base64,${Buffer.from(data).toString('base64')}">`;
  } catch {
    // it was read a moment ago: the caption still names it
  }
  return `<figure>${picture}<figcaption><b>${shown(predicted)} ${percent(probability)}</b>it is ${shown(label)}<br>${shown(path)}</figcaption></figure>`;
}

const words = ({ from, images }: ClassifierReport): string =>
  from === 'validation'
    ? `${images} validation images`
    : `${images} images, each predicted by a classifier that was fitted to the other folds (cross-validation)`;

async function reportSections(report: ClassifierReport, temperature: number): Promise<string> {
  const { accuracy, balancedAccuracy, logLoss, ece, eceUncalibrated, mistakes } = report;
  const figures = await Promise.all(mistakes.slice(0, SHOWN).map(mistakeFigure));
  return `<section aria-labelledby="right">
<h2 id="right">How often it is right</h2>
<p>${percent(accuracy.value)} of ${words(report)}; with 95% confidence between ${percent(accuracy.low)} and ${percent(accuracy.high)} (Wilson’s interval). Balanced accuracy, the mean of the classes’ recalls: ${percent(balancedAccuracy)}. Log loss: ${logLoss.toFixed(3)}.</p>
${classTable(report)}
</section>

<section aria-labelledby="confused">
<h2 id="confused">What is taken for what</h2>
<p>A row for each class, a column for each predicted class; the darker, the larger the share of the row.</p>
<div class="scroll">${confusionSvg(report)}</div>
</section>

<section aria-labelledby="sure">
<h2 id="sure">How sure it may be</h2>
<p>Predictions by their probability, and how many of them are right: bars that end at the dashed line are as sure as they may be. Expected calibration error: ${percent(ece)} (${percent(eceUncalibrated)} before logits were divided by the temperature, ${temperature.toFixed(2)}).</p>
${calibrationSvg(report)}
</section>

<section aria-labelledby="mistakes">
<h2 id="mistakes">The surest mistakes</h2>
${
  figures.length === 0
    ? '<p>None.</p>'
    : `<p>${figures.length} of ${mistakes.length}; some of them may be wrong labels.</p>\n<div class="mistakes">${figures.join('\n')}</div>`
}
</section>`;
}

function settingsSection(result: FitClassifierResult): string {
  const { method, scaling, value, trials, classifier, images, classes } = result;
  const { takes, origin, model } = classifier;
  const name = method === 'logistic' ? 'C' : 'k';
  const best = [...trials].sort((a, b) => b.accuracy - a.accuracy || a.logLoss - b.logLoss).slice(0, LISTED);
  const rows = best.map(
    (trial) =>
      `<tr><th scope="row">${trial.scaling}</th><td>${Number(trial.value.toPrecision(3))}</td><td>${percent(trial.accuracy)}</td><td>${trial.logLoss.toFixed(3)}</td></tr>`,
  );
  const { arch, embedDim, patchSize } = model.architecture;
  return `<section aria-labelledby="made">
<h2 id="made">How it was made</h2>
<p>${method === 'logistic' ? 'Logistic regression' : 'k nearest neighbours'} with ${name} ${Number(value.toPrecision(3))} on ${takes.features} features of the last ${takes.layers === 1 ? 'block' : `${takes.layers} blocks`} (scaling: ${scaling}), of ${images} images of ${classes.length} classes at ${takes.crop} pixels; class weight ${origin.classWeight}, ${origin.folds} folds, seed ${origin.seed}. The network: ${escapeHtml(arch)}, width ${embedDim}, patches of ${patchSize}. dino-ts ${escapeHtml(packageVersion)}.</p>
${
  rows.length < 2
    ? ''
    : `<p>The setting was chosen among ${trials.length} by the same folds, so that cross-validation is a little kinder than new images are.</p>
<details><summary>Settings that were compared</summary><div class="scroll"><table><thead><tr><th scope="col">scaling</th><th scope="col">${name}</th><th scope="col">accuracy</th><th scope="col">log loss</th></tr></thead><tbody>${rows.join('\n')}</tbody></table></div></details>`
}
</section>`;
}

function skippedSection({ skipped, remarks }: FitClassifierResult): string {
  if (skipped.length === 0 && remarks.length === 0) return '';
  const lines = [
    ...remarks,
    ...skipped.slice(0, LISTED).map(({ path, reason }) => `${path}: ${reason}`),
    ...(skipped.length > LISTED ? [`and ${skipped.length - LISTED} more that could not be read`] : []),
  ];
  return `<section aria-labelledby="left">
<h2 id="left">What was left out</h2>
<ul>${lines.map((line) => `<li>${shown(line)}</li>`).join('\n')}</ul>
</section>`;
}

/** The page. Thumbnails are read from the images' files. */
export async function renderClassifierReport(result: FitClassifierResult): Promise<string> {
  const report = result.validation ?? result.crossValidation;
  const title = `A classifier of ${result.classes.length} classes`;
  const lead =
    report === null
      ? 'Every class has a single image, so nothing could be measured.'
      : `It is right for ${percent(report.accuracy.value)} of ${words(report)}.`;
  const other =
    result.validation === null || result.crossValidation === null
      ? ''
      : `<p class="note">By cross-validation of the images that it was fitted to: ${percent(result.crossValidation.accuracy.value)}.</p>`;
  return `${pageHead(title, STYLE)}<header>
<h1>${title}</h1>
<p class="lead">${lead}</p>
${other}
</header>
<main>
${report === null ? '' : await reportSections(report, result.temperature)}
${settingsSection(result)}
${skippedSection(result)}
</main>
</body>
</html>
`;
}

const fitted = being('the result of fitClassifier()', (value) => {
  const { classifier, classes, trials, skipped, remarks } = Object(value) as Partial<FitClassifierResult>;
  return typeof classifier === 'object' && [classes, trials, skipped, remarks].every(Array.isArray);
});

/**
 * Of a report whose name nobody gave.
 * @throws ConfigError when a file that is not a report has this name: it is left as it is.
 */
export function checkReportBeside(file: string): void {
  if (!existsSync(file) || isOwnPage(readStart(file, 1024, { failure: CheckpointError }).toString('utf8')))
    return;
  throw new ConfigError(
    `${printable(file)} would be the report, but there is a file that was not written here: it is left as it is. ` +
      `Give --report FILE, ${printable(freeName(file))} is not taken`,
  );
}

/**
 * Writes the report as one HTML file: figures, the confusion matrix, calibration, and the surest mistakes with thumbnails.
 * @throws DataError when it can't be written; an existing file is then untouched.
 */
export async function writeClassifierReport(file: string, result: FitClassifierResult): Promise<void> {
  checkCall('writeClassifierReport()', ['file', filePath, file], ['result', fitted, result]);
  assertWritable(file);
  const page = await renderClassifierReport(result);
  makeFolderOf(file);
  writeFileWhole(file, page);
}
