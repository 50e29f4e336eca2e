/** The report's style sheet, and the script that draws its charts in the browser. */

/** Colours are variables, so that light and dark differ in one place; the charts read them too. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --text: #1d1f22; --dim: #5b6068; --line: #dcdde0;
  --after: #1f6f5c; --before: #a8adb5; --raw: #c9a45c; --limit: #b3452f; --frame: #1f6f5c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15171a; --card: #1d2024; --text: #e8e9eb; --dim: #a3a8b0; --line: #363a40;
    --after: #5fc6a8; --before: #6c727b; --raw: #c9a45c; --limit: #ef8a72; --frame: #5fc6a8;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, sans-serif; }
header, main { max-width: 1080px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 12px; text-wrap: balance; }
h2 { font-size: 1.3rem; margin: 0 0 10px; }
h3 { font-size: 1rem; margin: 0 0 8px; }
.lead { font-size: 1.15rem; margin: 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 22px 24px; margin: 24px 0; }
p { margin: 0 0 12px; max-width: 75ch; }
ul { margin: 0; padding-left: 1.2em; }
li { margin-bottom: 8px; }
.note, .count, figcaption { color: var(--dim); font-size: 0.875rem; }
.verdict, .scores { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 360px), 1fr)); gap: 28px; }
.scores { margin-top: 22px; padding-top: 20px; border-top: 1px solid var(--line); }
.score { display: grid; grid-template-columns: 6.5em 1fr 3em; align-items: center; gap: 10px; margin-bottom: 6px; }
.track { background: color-mix(in srgb, var(--line) 60%, transparent); border-radius: 4px; height: 14px; }
.fill { display: block; height: 100%; border-radius: 4px; background: var(--raw); }
.fill.before { background: var(--before); }
.fill.after { background: var(--after); }
.value { text-align: right; font-variant-numeric: tabular-nums; }
.scores .note { margin-top: 10px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 22px; }
.chart { margin: 0; min-width: 0; }
.chart figcaption strong { display: block; color: var(--text); }
.plot { width: 100%; min-height: 200px; }
.uplot .u-legend { color: var(--dim); font-size: 0.8rem; text-align: left; }
.uplot .u-legend th::after { content: none; }
.strip { display: flex; gap: 4px; flex-wrap: nowrap; }
.examples { flex-wrap: wrap; }
img { width: 64px; height: 64px; image-rendering: pixelated; border-radius: 4px; display: block; }
img.same { outline: 3px solid var(--frame); outline-offset: -3px; }
img.other { opacity: 0.5; }
img.mask { margin-left: 6px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
td, th { text-align: left; padding: 4px 14px 4px 0; vertical-align: top; font-weight: normal; }
thead th { font-weight: 600; }
.pictures td, .pictures th { padding: 8px 18px 8px 0; }
.pictures tbody tr + tr > * { border-top: 1px solid var(--line); }
.pictures th[scope='row'] span, .count { display: block; font-size: 0.8rem; color: var(--dim); margin-top: 3px; white-space: nowrap; }
.chart td { font-variant-numeric: tabular-nums; }
details { margin: 8px 0 12px; font-size: 0.9rem; }
summary { cursor: pointer; color: var(--dim); }
code { font-size: 0.9em; }
@media (max-width: 700px) { header, main { padding-inline: 12px; } section { padding: 16px; } }
`;

/** Draws every chart in its box, and again when the width or the colour scheme changes. */
export const CHART_SCRIPT = `
'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const plots = [];
function draw() {
  while (plots.length) plots.pop().destroy();
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue('--' + name).trim();
  for (const chart of data.charts) {
    const box = document.getElementById('plot-' + chart.id);
    const axis = { stroke: colour('dim'), grid: { stroke: colour('line'), width: 1 }, ticks: { stroke: colour('line') } };
    const series = [{ label: 'step' }, {
      label: chart.label, stroke: colour('after'), width: 1.75, points: { show: false },
      value: (_, value) => (value == null ? '-' : value.toFixed(3)),
    }];
    const columns = [data.steps, chart.values];
    if (chart.limit) {
      series.push({ label: chart.limit.label, stroke: colour('limit'), dash: [6, 4], width: 1.25, points: { show: false }, value: () => '' });
      columns.push(data.steps.map(() => chart.limit.value));
    }
    const top = Math.max(...chart.values, chart.limit ? chart.limit.value : 0);
    plots.push(new uPlot({
      width: box.clientWidth, height: 220, series, axes: [axis, { ...axis, size: 44 }],
      scales: { x: { time: false }, y: { range: [0, top * 1.06 || 1] } }, cursor: { y: false },
    }, columns, box));
  }
}
draw();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
let width = innerWidth;
addEventListener('resize', () => {
  if (innerWidth === width) return;
  width = innerWidth;
  data.charts.forEach((chart, i) => plots[i].setSize({ width: document.getElementById('plot-' + chart.id).clientWidth, height: 220 }));
});
`;
