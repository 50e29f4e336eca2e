/**
 * The film of a run and Look's likeness, in a headless Chromium with software rendering:
 *
 *   node bench/emergence.mjs RUN WEIGHTS IMAGE [side in pixels, 448]
 *
 * film: from choosing the finished RUN, which watches images, until its film has moved on. hover: from a movement of the
 * pointer to another patch of IMAGE until its likeness has been drawn, at as many patches as `side` has with WEIGHTS; the
 * median and the slowest of fifty.
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { launchBrowser } from '../dist/testing/browser.js';
import { lookSettled, setSlider } from '../dist/testing/page.js';
import { openStudio } from '../dist/testing/studio.js';

const [run, weights, image] = process.argv.slice(2, 5).map((one) => path.resolve(one));
const side = Number(process.argv[5] ?? 448);
const browser = await launchBrowser([]);
if (typeof browser === 'string') throw new Error(browser);

try {
  const { page, show, text, close } = await openStudio(browser, [
    ...new Set([path.dirname(run), path.dirname(weights), path.dirname(image)]),
  ]);
  await text('.runs th a', new RegExp(`${path.basename(run)}$`));
  const films = [];
  for (let i = 0; i < 5; i++) {
    await show('#/runs');
    await page.waitForSelector('.runs th a');
    const start = performance.now();
    await page.evaluate(
      `[...document.querySelectorAll('.runs th a')].find((one) => one.innerText.endsWith(${JSON.stringify(path.basename(run))})).click()`,
    );
    await page.waitForSelector('.film[data-step="0"]', { timeout: 30_000 });
    await page.waitForSelector('.film:not([data-step="0"])', { timeout: 30_000 });
    films.push(performance.now() - start);
    await page.reload();
  }
  await show(`#/look?${new URLSearchParams({ weights, image, view: 'likeness' })}`);
  await page.reload();
  await lookSettled(page);
  await setSlider(page, 'Resolution', side);
  await sleep(1000); // it is asked for a moment after the slider has come to rest
  await lookSettled(page);
  const patches = await page.evaluate(`document.querySelector('.seen figcaption').innerText`);
  await page.evaluate(`document.querySelector('.seen canvas').scrollIntoView({ block: 'center' })`);
  const box = await (await page.$('.seen canvas')).boundingBox();
  await page.evaluate(`{
    window.times = [];
    document.querySelector('.seen canvas').addEventListener('pointermove', () => {
      const start = performance.now();
      requestAnimationFrame(() => requestAnimationFrame(() => window.times.push(performance.now() - start)));
    }, { capture: true });
  }`);
  for (let i = 0; i < 50; i++) {
    await page.mouse.move(
      box.x + box.width * ((((i * 7) % 50) + 0.5) / 50),
      box.y + box.height * ((i + 0.5) / 50),
    );
    await page.waitForFunction(`window.times.length > ${i}`);
  }
  const times = (await page.evaluate('window.times')).sort((a, b) => a - b);
  const round = (value) => Math.round(value);
  console.log(
    JSON.stringify({
      filmMs: films.map(round),
      patches,
      hoverMs: { median: round(times[25]), slowest: round(times.at(-1)) },
    }),
  );
  await close();
} finally {
  await browser.close();
}
