/** The report's style sheet. */
import { OBJECTS } from './objects.js';

/** Colours are variables, so that light and dark differ in one place. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #fffffb; --text: #1c1c1a; --dim: #66665f; --line: #dedcd3; --faint: #f2f0e8;
  --after: #1f6f5c; --before: #a4a49c; --raw: #c9a45c; --limit: #b3452f; --wrong: #b3452f;
  --kind: 58% 46%;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #141513; --text: #e6e5df; --dim: #a09f96; --line: #35362f; --faint: #20211d;
    --after: #5fc6a8; --before: #7a7a72; --raw: #c9a45c; --limit: #ef8a72; --wrong: #ef8a72;
    --kind: 62% 68%;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 17px/1.5 'Iowan Old Style', Palatino, 'Palatino Linotype', 'Book Antiqua', Georgia, serif; }
header, main { max-width: 1240px; margin: 0 auto; padding: 0 28px; }
header { padding-top: 48px; }
h1 { font-size: clamp(1.7rem, 4vw, 2.5rem); font-weight: 400; line-height: 1.15; margin: 0 0 14px; text-wrap: balance; max-width: 26ch; }
h2 { font-size: 1.5rem; font-weight: 400; font-style: italic; margin: 0 0 8px; }
h3 { font-size: 1rem; margin: 0 0 8px; }
.lead { font-size: 1.2rem; line-height: 1.45; margin: 0; max-width: 62ch; }
section { margin: 52px 0; }
p { margin: 0 0 14px; max-width: 72ch; }
ul { margin: 0; padding-left: 1.1em; max-width: 72ch; }
li { margin-bottom: 6px; }
.note, figcaption, summary, .when, .chart td, .chart th, .settings { color: var(--dim); font-size: 0.85rem; }
.note { margin-top: 14px; }
figure { margin: 0; min-width: 0; }
figcaption { margin-top: 3px; }
img { display: block; width: 100%; height: auto; border-radius: 2px; }
.looks { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 26px 34px; margin-top: 20px; }
.look { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px; }
.look:first-child { grid-column: 1 / -1; gap: 10px; }
.look b { color: var(--text); font-variant-numeric: tabular-nums; }
.all-heads { display: grid; gap: 8px; margin-top: 12px; }
.all-heads > div { display: flex; gap: 10px; align-items: center; }
.all-heads img { width: 64px; }
.heads { display: flex; flex-wrap: wrap; gap: 4px; align-items: center; }
.heads .when { margin: 0 4px 0 10px; }
.heads img.shown { outline: 2px solid var(--after); outline-offset: 1px; }
.queries { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 540px), 1fr)); gap: 30px 40px; margin-top: 18px; }
.query { display: grid; grid-template-columns: minmax(84px, 1fr) 4fr; gap: 18px; align-items: center; }
.asked figcaption { color: var(--text); }
.strip { display: grid; grid-template-columns: repeat(5, 1fr); gap: 2px 6px; }
.strip + .strip { margin-top: 10px; }
.strip .when { grid-column: 1 / -1; }
.strip figcaption { font-size: 0.75rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.right figcaption { color: var(--after); }
.wrong figcaption { color: var(--wrong); }
.right img, .wrong img { border-bottom: 4px solid var(--after); }
.wrong img { border-color: transparent; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums lining-nums; }
td, th { text-align: left; padding: 4px 18px 4px 0; font-weight: 400; vertical-align: baseline; }
.accuracy { margin: 14px 0; min-width: 560px; width: 100%; max-width: 900px; border-block: 1px solid var(--line); }
.accuracy thead th { color: var(--dim); font-size: 0.85rem; border-bottom: 1px solid var(--line); }
.accuracy td:not(.bar) { text-align: right; width: 5.5em; }
.accuracy thead th:not(:first-child, .bar) { text-align: right; }
.accuracy tr.after { color: var(--after); }
.bar { width: 42%; padding-right: 0; }
td.bar span { display: block; height: 0.7em; background: var(--raw); }
.guess td.bar span { background: var(--line); }
.before td.bar span { background: var(--before); }
.after td.bar span { background: var(--after); }
.verdict { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 20px 40px; margin-top: 22px; font-size: 0.95rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 28px; }
.chart figcaption { min-height: 5.4em; }
.chart figcaption strong { display: block; color: var(--text); font-weight: 600; }
.chart svg { display: block; width: 100%; height: auto; }
.chart polyline { fill: none; stroke: var(--after); stroke-width: 1.75; stroke-linejoin: round; }
.chart text { font-size: 12px; }
.rule { stroke: var(--line); }
.tick { fill: var(--dim); }
.end { fill: var(--after); }
line.limit { stroke: var(--limit); stroke-dasharray: 6 4; }
text.limit { fill: var(--limit); }
.maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 24px 40px; }
.maps svg { display: block; width: 100%; height: auto; border: 1px solid var(--line); }
.maps circle { fill-opacity: 0.75; }
.maps text { font-size: 17px; text-anchor: middle; paint-order: stroke; stroke: var(--page); stroke-width: 4px; stroke-linejoin: round; }
${Array.from({ length: OBJECTS.length }, (_, i) => `.k${i} { fill: hsl(${Math.round((360 * i) / OBJECTS.length)} var(--kind)); }`).join('\n')}
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 4px; }
details { margin: 12px 0; }
summary { cursor: pointer; }
code { font-size: 0.85em; }
@media (max-width: 600px) {
  header, main { padding-inline: 16px; }
  body { font-size: 16px; }
  .query { grid-template-columns: 64px 1fr; gap: 10px; }
  .strip figcaption { font-size: 0.65rem; }
}
`;
