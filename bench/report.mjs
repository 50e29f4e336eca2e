/** The benchmark's table in Markdown. */
const show = (side, unit) => {
  if (side === undefined) return '';
  const scale = unit.startsWith('s') && side.median < 0.1 ? 1000 : 1;
  const f = (value) => (value * scale).toPrecision(3);
  return `${f(side.median)} (${f(side.least)}-${f(side.most)})${scale === 1000 ? ' ms' : ''}`;
};

export function report(machine, results) {
  const lines = [
    `${machine.date}; ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB; Node ${machine.node}; ` +
      `${machine.threads} threads, ${machine.rounds} rounds by turns, medians (least-most); ` +
      `fp32 matrix products ${machine.gemmGflops.toFixed(0)} GFLOP/s.`,
    '',
    '| row | unit | ours | reference | reference / ours | target | share of the roofline, ours |',
    '| --- | --- | --- | --- | --- | --- | --- |',
  ];
  for (const result of results) {
    if (result.failed) {
      lines.push(`| ${result.title} | | failed: ${result.failed} | | | | |`);
      continue;
    }
    const { unit, sides, ratio, target, roofline } = result;
    const share = roofline ? roofline / sides.ours.median : null;
    lines.push(
      `| ${result.title} | ${unit} | ${show(sides.ours, unit)} | ${show(sides.reference, unit)} | ` +
        `${ratio === undefined ? '' : `**${ratio.toFixed(2)}**`} | ${target} | ` +
        `${share === null ? '' : `${(100 * share).toFixed(0)}%`} |`,
    );
  }
  return `${lines.join('\n')}\n`;
}
