/** Frames that a page draws while it is moved, for the benchmarks of the studio. */

/** Calls `move(i)` repeatedly for three seconds, and measures the time between the page's animation frames. */
export async function framesWhile(page, move) {
  await page.evaluate(`window.drawn_ = []; window.counts_ ??=
    (function count() { window.drawn_.push(performance.now()); requestAnimationFrame(count); return true; })()`);
  const start = performance.now();
  for (let i = 0; performance.now() - start < 3000; i++) await move(i);
  const drawn = await page.evaluate('window.drawn_');
  const gaps = drawn
    .slice(1)
    .map((at, i) => at - drawn[i])
    .sort((a, b) => a - b);
  return {
    framesPerSecond: Math.round((1000 * gaps.length) / gaps.reduce((sum, gap) => sum + gap, 0)),
    slowestFrameMs: Math.round(gaps.at(-1)),
    frame95Ms: Math.round(gaps[Math.floor(0.95 * gaps.length)]),
  };
}
