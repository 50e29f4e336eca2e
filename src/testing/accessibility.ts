/** For tests: accessibility problems of a page: axe's violations in light, dark and narrow, and overflow. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'puppeteer-core';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface AxeResult {
  violations: { id: string; help: string; nodes: { target: unknown[]; failureSummary?: string }[] }[];
}

async function violations(page: Page, label: string): Promise<string[]> {
  // through the debugger's connection, to which the page's content-security policy does not apply
  await page.evaluate(axeSource);
  const result = (await page.evaluate(
    '(async () => { const { violations } = await axe.run(document, { resultTypes: ["violations"] });' +
      ' return { violations: violations.map(({ id, help, nodes }) => ({ id, help,' +
      ' nodes: nodes.map(({ target, failureSummary }) => ({ target, failureSummary })) })) }; })()',
  )) as AxeResult;
  return result.violations.flatMap(({ id, help, nodes }) =>
    nodes.map(
      (node) => `${label}: ${id} (${help}) at ${JSON.stringify(node.target)}: ${node.failureSummary}`,
    ),
  );
}

/** Checks both colour schemes and a narrow screen; afterwards the page's size is restored. */
export async function pageProblems(page: Page): Promise<string[]> {
  const found: string[] = [];
  for (const scheme of ['light', 'dark'] as const) {
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    found.push(...(await violations(page, scheme)));
  }
  await page.emulateMediaFeatures([]);
  const before = page.viewport();
  await page.setViewport({ width: 360, height: 740 });
  found.push(...(await violations(page, 'narrow')));
  const overflow = (await page.evaluate('document.documentElement.scrollWidth - innerWidth')) as number;
  if (overflow > 0) found.push(`narrow: the page is ${overflow} pixels wider than the screen`);
  if (before !== null) await page.setViewport(before);
  return found;
}
