/** For tests: accessibility problems of a page: axe's violations in light and dark, wide and narrow, and overflow. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'puppeteer-core';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface AxeResult {
  violations: { id: string; help: string; nodes: { target: unknown[]; failureSummary?: string }[] }[];
}

/** What may differ between colour schemes: the rest is looked at once for each width. */
const OF_COLOURS = ['color-contrast', 'link-in-text-block'];

async function violations(page: Page, label: string, rules: readonly string[] | null): Promise<string[]> {
  const options = {
    resultTypes: ['violations'],
    ...(rules === null ? {} : { runOnly: { type: 'rule', values: rules } }),
  };
  // through the debugger's connection, to which the page's content-security policy does not apply
  await page.evaluate(axeSource);
  const result = (await page.evaluate(
    `(async () => { const { violations } = await axe.run(document, ${JSON.stringify(options)});` +
      ' return { violations: violations.map(({ id, help, nodes }) => ({ id, help,' +
      ' nodes: nodes.map(({ target, failureSummary }) => ({ target, failureSummary })) })) }; })()',
  )) as AxeResult;
  return result.violations.flatMap(({ id, help, nodes }) =>
    nodes.map(
      (node) => `${label}: ${id} (${help}) at ${JSON.stringify(node.target)}: ${node.failureSummary}`,
    ),
  );
}

/** Checks both colour schemes, as wide as the page is and narrow; afterwards its size is restored. */
export async function pageProblems(page: Page): Promise<string[]> {
  const found: string[] = [];
  const inBoth = async (width: string): Promise<void> => {
    for (const [scheme, rules] of [
      ['light', null],
      ['dark', OF_COLOURS],
    ] as const) {
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      found.push(...(await violations(page, `${width}, ${scheme}`, rules)));
    }
    await page.emulateMediaFeatures([]);
  };
  await inBoth('wide');
  const before = page.viewport();
  await page.setViewport({ width: 360, height: 740 });
  await inBoth('narrow');
  // charts are drawn again at their new width a frame or two later, on a busy machine after a while
  await page
    .waitForFunction('document.documentElement.scrollWidth <= innerWidth', { timeout: 5000 })
    .catch(() => undefined);
  const overflow = (await page.evaluate('document.documentElement.scrollWidth - innerWidth')) as number;
  if (overflow > 0) {
    const beyond = (await page.evaluate(
      `[...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
        .map(({ tagName, className }) => tagName.toLowerCase() + (typeof className === 'string' ? '.' + className : ''))`,
    )) as string[];
    found.push(
      `narrow: the page is ${overflow} pixels wider than the screen: ${beyond.slice(0, 12).join(', ')}`,
    );
  }
  if (before !== null) await page.setViewport(before);
  return found;
}
