/** Frames that a page draws while it is moved, for the benchmarks of the studio. */

/** Seconds that the page's main thread has computed so far, without its waiting: in all, and for what. */
async function busyOf(session) {
  const { metrics } = await session.send('Performance.getMetrics');
  const of = (name) => metrics.find((one) => one.name === name).value;
  return [of('TaskDuration'), of('ScriptDuration'), of('LayoutDuration') + of('RecalcStyleDuration')];
}

/**
 * Calls `move(i)` repeatedly for three seconds, and measures the time between the page's animation frames, and how long the main
 * thread computes in each, which depends less on what else the machine does.
 */
export async function framesWhile(page, move) {
  const session = await page.createCDPSession();
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  await page.evaluate(`window.drawn_ = []; window.counts_ ??=
    (function count() { window.drawn_.push(performance.now()); requestAnimationFrame(count); return true; })()`);
  const before = await busyOf(session);
  const start = performance.now();
  for (let i = 0; performance.now() - start < 3000; i++) await move(i);
  const drawn = await page.evaluate('window.drawn_');
  const after = await busyOf(session);
  await session.detach();
  const [busy, script, layout] = after.map(
    (seconds, i) => Math.round((10_000 * (seconds - before[i])) / drawn.length) / 10,
  );
  const gaps = drawn
    .slice(1)
    .map((at, i) => at - drawn[i])
    .sort((a, b) => a - b);
  return {
    framesPerSecond: Math.round((1000 * gaps.length) / gaps.reduce((sum, gap) => sum + gap, 0)),
    slowestFrameMs: Math.round(gaps.at(-1)),
    frame95Ms: Math.round(gaps[Math.floor(0.95 * gaps.length)]),
    cpuMsPerFrame: busy,
    ...{ ofItScripts: script, ofItLayout: layout },
  };
}
